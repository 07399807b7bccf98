#pragma once

#include <string>
#include <vector>

namespace vmeventd {

// Returns the name of the container of a libvirt_lxc; empty: the process is not a libvirt_lxc.
std::string GivenContainer(const std::vector<std::string>& arguments);

}  // namespace vmeventd
