#pragma once

#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// A command line for /bin/sh, with its variables and its input.
struct CommandCall {
  std::string command;
  // Added to the environment; replace its variables of the same name.
  std::vector<std::pair<std::string, std::string>> variables;
  std::string input;  // the text on its standard input
};

// Runs the command in a session of its own, without a terminal, and returns when it has ended. A
// stop sends SIGTERM to its process group, and SIGKILL after `grace`. ABORTED: it failed; the
// message says how and completes "the command ...". CANCELLED: it was stopped and did not exit with
// 0. UNAVAILABLE: it could not be started.
absl::Status RunCommandCall(const CommandCall& call, const std::stop_token& stop,
                            absl::Duration grace = absl::Seconds(5));

}  // namespace vmeventd::client
