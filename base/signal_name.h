#pragma once

#include <string>

namespace vmeventd {

// Returns the signal's name, "SIGKILL"; or "signal 99" if it has none. Pure; any thread.
std::string SignalName(int signal);

}  // namespace vmeventd
