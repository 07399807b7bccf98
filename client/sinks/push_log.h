#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "client/output/formatter.h"
#include "client/output/print_sentence.h"
#include "vmeventd/internal/push_state.pb.h"

namespace vmeventd::client {

// The state of a push. Its file contains it as JSON.
using internal::PushState;

// Records what a push does, for its state file, its metrics and people, and makes its pauses. One
// thread.
class PushLog {
 public:
  struct Environment {
    std::function<void(const PushState&)> report;  // gets each changed state
    PrintSentence note;
    std::function<bool(absl::Duration)> wait;  // returns whether to stop instead
    absl::Duration longest_pause = absl::Minutes(5);
    std::function<absl::Time()> now = absl::Now;
    std::function<double()> random = RandomFraction;
  };
  // Continues with the counts of `state`, and with its failure until the next success.
  PushLog(PushState state, Environment environment)
      : env_(std::move(environment)), state_(std::move(state)) {}

  const PushState& state() const { return state_; }
  void Note(const std::string& sentence) const { env_.note(sentence); }
  // Records that these events were not sent: they are GAPs of the whole node that the filter does
  // not ask for.
  void LeftOut(Formatter::Events events);
  // Records that the receiver accepted the events.
  void Delivered(Formatter::Events events);
  void SetAside(Formatter::Events events, const std::string& reason);
  // Records that a request was not delivered.
  void Failed(const std::string& reason);
  // Waits before the next attempt: twice as long each time, and at least `at_least`. Records the
  // events as waiting, if there are any. Returns whether to stop instead.
  bool Retry(const std::string& reason, Formatter::Events events, absl::Duration at_least = {});
  // Records a fault that exists although events are delivered; empty: none. Reports each one once.
  void Warn(const std::string& warning);
  // Records that the receiver can be reached again.
  void Recovered();
  // Records the reason for which there is no connection to the source; empty: it is connected. May
  // be called repeatedly with the same reason.
  void Loss(const std::string& why);
  // Records the reason for which the push ends, other than a stop.
  void Ended(const std::string& why);

 private:
  void Done(Formatter::Events events);
  // Reports each reason once, until something is delivered.
  void NoteFailure(const std::string& reason, absl::string_view then);
  void SetFailing(const std::string& reason);

  const Environment env_;
  PushState state_;
  Backoff backoff_{absl::Seconds(1), env_.longest_pause};
  std::string reported_reason_;                 // reason that was reported since the last success
  bool lost_ = !state_.source_error().empty();  // the source is lost
};

}  // namespace vmeventd::client
