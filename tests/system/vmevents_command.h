#pragma once

#include <string>
#include <vector>

namespace vmeventd::e2e {

// The command line of vmevents for a server.
std::vector<std::string> VmeventsCommand(const std::string& server,
                                         const std::vector<std::string>& arguments);

}  // namespace vmeventd::e2e
