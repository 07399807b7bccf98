#include "watcher/core/vm_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vmeventd {

std::string VmSource::text() const { return absl::StrCat(key, ":", where); }

VmSource ParseVmSource(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  return {std::string(parts.first), std::string(parts.second)};
}

}  // namespace vmeventd
