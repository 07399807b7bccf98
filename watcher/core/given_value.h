#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace vmeventd {

// Returns the argument that follows the first `option`, such as "-name"; empty: there is none.
std::string GivenValue(const std::vector<std::string>& arguments, absl::string_view option);

}  // namespace vmeventd
