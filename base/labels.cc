#include "base/labels.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace vmeventd {

bool IsLabelKey(absl::string_view key) {
  return !key.empty() && key.size() <= kMaxLabelKeyBytes &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  absl::string_view("._-/").find(c) != absl::string_view::npos;
         });
}

}  // namespace vmeventd
