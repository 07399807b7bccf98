#include "base/quote.h"

#include <cstddef>

#include "absl/strings/escaping.h"

namespace vmeventd {

std::string Quote(absl::string_view value) {
  constexpr size_t kMaxBytes = 120;
  if (value.size() <= kMaxBytes) return absl::StrCat("\"", absl::CHexEscape(value), "\"");
  return absl::StrCat("\"", absl::CHexEscape(value.substr(0, kMaxBytes)), "...\" (", value.size(),
                      " bytes)");
}

}  // namespace vmeventd
