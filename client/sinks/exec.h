#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/sink.h"

namespace vmeventd::client {

// A command line for /bin/sh and what it is given.
struct CommandCall {
  std::string command;
  std::vector<std::pair<std::string, std::string>> variables;  // beside the environment
  std::string input;                                           // text of its standard input
};

// Runs the command in a session of its own, without a terminal, and returns when it has ended. A
// stop sends SIGTERM to the group, and SIGKILL after `grace`. ABORTED: it failed; the message
// completes "the command ..." with how. CANCELLED: it was stopped. UNAVAILABLE: it could not be
// started.
absl::Status RunCommandCall(const CommandCall& call, const std::stop_token& stop,
                            absl::Duration grace = absl::Seconds(5));

// Runs a command for each event, one at a time; none for the VMs of a snapshot. One thread.
class CommandRunner : public EventSink {
 public:
  static constexpr int kMaxRetries = 10;
  static constexpr absl::Duration kFirstPause = absl::Seconds(1);
  static constexpr absl::Duration kLongestPause = absl::Minutes(1);

  struct Environment {
    std::string command;
    OnFailure on_failure = OnFailure::kStop;
    bool gaps = true;  // runs for a GAP of the whole node as well; otherwise notes it
    // Runs it once; errors: see RunCommandCall().
    std::function<absl::Status(const CommandCall&)> run;
    // Waits before it runs a failed command again; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    PrintSentence note;
    std::function<double()> random = RandomFraction;
  };
  explicit CommandRunner(Environment environment) : env_(std::move(environment)) {}

  absl::Status Consume(Formatter::Events events) override;
  size_t together() const override { return 1; }

 private:
  const Environment env_;
};

}  // namespace vmeventd::client
