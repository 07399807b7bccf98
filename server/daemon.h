#pragma once

#include <string>
#include <vector>

#include "server/config/tuning.h"

namespace vmeventd {

// The program vmeventd: reads its flags, runs the daemon until a signal, and returns the exit code.
// Call it once in a process, on the first thread.
int RunProgram(const std::vector<std::string>& arguments, const Tuning& tuning = Tuning());

}  // namespace vmeventd
