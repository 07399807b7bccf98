#pragma once

#include <string>

namespace vmeventd {

// Returns whether a name, or an IP address in digits, is of this host alone.
bool IsLoopback(const std::string& host);

}  // namespace vmeventd
