#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace vmeventd {

// Finds the name that `typed` is a misspelling of: one or two letters must be changed, added or
// removed, one in a short word. Empty: there is none. Pure.
std::string NearestName(absl::string_view typed, const std::vector<std::string>& names);

}  // namespace vmeventd
