#ifndef VMEVENTD_CLIENT_CONSUME_EVENT_COMMAND_H_
#define VMEVENTD_CLIENT_CONSUME_EVENT_COMMAND_H_

#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The variables that describe an event to a command: VMEVENTS_TYPE and so on, all of them for every
// event, empty where the event has no such field. No value contains a NUL. Pure.
std::vector<std::pair<std::string, std::string>> EventVariables(const v1::Event& event,
                                                                const MessageNode& node);

// A command line for /bin/sh and what it is given.
struct CommandCall {
  std::string command;
  std::vector<std::pair<std::string, std::string>> variables;  // beside the environment
  std::string input;                                           // its standard input
};

// Runs the command in a session of its own, without a terminal, and returns when it has ended. A
// stop sends SIGTERM to the group, and SIGKILL after `grace`. `note` gets a sentence each time that
// a signal has suspended the command, on another thread. ABORTED: it failed; the message completes
// "the command ..." with how. CANCELLED: it was stopped. UNAVAILABLE: it could not be started.
absl::Status RunCommandCall(const CommandCall& call, const std::stop_token& stop,
                            const std::function<void(const std::string&)>& note,
                            absl::Duration grace = absl::Seconds(5));

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_EVENT_COMMAND_H_
