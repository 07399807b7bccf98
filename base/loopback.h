#pragma once

#include <string>

namespace vmeventd {

// Returns whether a name, or an IP address in digits, is local to this host. Pure; any thread.
bool IsLoopback(const std::string& host);

}  // namespace vmeventd
