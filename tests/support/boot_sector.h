#pragma once

#include <string>
#include <vector>

namespace vmeventd::e2e {

// Contents of a disk that boots an 8086 program instead of an operating system.
std::string BootSector(const std::vector<unsigned char>& program);
// Contents of the disk for Boot::kSector.
std::string GuestSector(bool obeys_power_button, bool reboots_after_panic);

}  // namespace vmeventd::e2e
