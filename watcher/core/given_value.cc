#include "watcher/core/given_value.h"

#include <cstddef>

namespace vmeventd {

std::string GivenValue(const std::vector<std::string>& arguments, absl::string_view option) {
  for (size_t at = 1; at < arguments.size(); ++at) {
    if (arguments[at - 1] == option) return arguments[at];
  }
  return "";
}

}  // namespace vmeventd
