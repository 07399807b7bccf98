#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_target.h"

// The sink of `push https://`: HTTP requests.

namespace vmeventd::client {

// Checks that the files of secrets and headers can be read. INVALID_ARGUMENT names the fault.
absl::Status CheckHttpFiles(const PushCommand& command);

// Sends TrialEvent(), and returns the receiver's answer in one line. UNAVAILABLE: the receiver did
// not accept it.
absl::StatusOr<std::string> SendTest(const PushCommand& command, const PushTarget& target,
                                     const std::string& form);

}  // namespace vmeventd::client
