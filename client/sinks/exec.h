#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "client/output/formatter.h"
#include "client/output/print_sentence.h"
#include "client/sinks/command_call.h"
#include "client/sinks/sink.h"

namespace vmeventd::client {

// Treatment of an event whose command failed.
enum class OnFailure {
  kStop,  // end the watch; the cursor stays before the event
  // Run it again, up to CommandRunner::kMaxRetries times with growing pauses, then end the watch.
  kRetry,
  kSkip,  // continue with the next event
};

// Runs a command for each event, one at a time. Ignores the VMs of a snapshot. One thread.
class CommandRunner : public EventSink {
 public:
  static constexpr int kMaxRetries = 10;
  static constexpr absl::Duration kFirstPause = absl::Seconds(1);
  static constexpr absl::Duration kLongestPause = absl::Minutes(1);

  struct Environment {
    std::string command;
    OnFailure on_failure = OnFailure::kStop;
    // Also runs it for a GAP of the whole node; otherwise reports the GAP to `note`.
    bool gaps = true;
    // Runs the command once; errors: see RunCommandCall().
    std::function<absl::Status(const CommandCall&)> run;
    // Called to wait before a failed command runs again; returns whether to stop instead.
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
