#include "watcher/core/given_container.h"

#include "absl/strings/string_view.h"
#include "watcher/core/given_value.h"

namespace vmeventd {

std::string GivenContainer(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return "";
  const absl::string_view program = arguments.front();
  if (program.substr(program.rfind('/') + 1) != "libvirt_lxc") return "";
  return GivenValue(arguments, "--name");
}

}  // namespace vmeventd
