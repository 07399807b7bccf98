#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/connect/failure.h"

// The commands' sentences on standard error.

namespace vmeventd::client {

// Prints "vmevents: SENTENCE" to standard error. The sentence must be safe for a terminal. Any
// thread.
void PrintNote(const std::string& sentence);
// Prints why the command failed, and returns the exit code.
ExitCode Fail(const Failure& failure);
ExitCode Fail(const absl::Status& status);

}  // namespace vmeventd::client
