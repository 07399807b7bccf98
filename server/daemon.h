#pragma once

#include <string>
#include <vector>

#include "server/config/config.h"

namespace vmeventd {

// The program vmeventd: reads its flags, runs the daemon until a signal, returns its exit code.
// Once in a process, on its first thread.
int RunProgram(const std::vector<std::string>& arguments, const Tuning& tuning = Tuning());

}  // namespace vmeventd
