#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "vmeventd/internal/push_state.pb.h"

namespace vmeventd::client {

// The state of a push; its file is the state as JSON.
using internal::PushState;

// Account of a push, for its state file, its metrics and people, and its pauses. One thread.
class PushLog {
 public:
  struct Environment {
    std::function<void(const PushState&)> report;  // gets the state after each change
    PrintSentence note;
    std::function<bool(absl::Duration)> wait;  // returns whether to stop instead
    absl::Duration longest_pause = absl::Minutes(5);
    std::function<absl::Time()> now = absl::Now;
    std::function<double()> random = RandomFraction;
  };
  // Continues the counts of `state`.
  PushLog(PushState state, Environment environment)
      : env_(std::move(environment)), state_(std::move(state)) {}

  const PushState& state() const { return state_; }
  void Note(const std::string& sentence) const { env_.note(sentence); }
  // GAPs of the whole node that nobody asked for.
  void LeftOut(Formatter::Events events);
  // The receiver took the events.
  void Delivered(Formatter::Events events);
  void SetAside(Formatter::Events events, const std::string& reason);
  // A request was not delivered.
  void Failed(const std::string& reason);
  // Waits before the next attempt: twice as long each time, and for `at_least`. The events wait, if
  // there are any. Returns whether to stop instead.
  bool Retry(const std::string& reason, Formatter::Events events, absl::Duration at_least = {});
  // What is wrong although events are delivered; empty: nothing. Noted once.
  void Warn(const std::string& warning);
  // The receiver can be reached again.
  void Recovered();
  // `why` there is no connection to the source; empty: there is one. Called again and again.
  void Loss(const std::string& why);
  // The push ends by itself.
  void Ended(const std::string& why);

 private:
  void Done(Formatter::Events events);
  // Reports each reason once, until something is delivered.
  void NoteFailure(const std::string& reason, absl::string_view then);
  void SetFailing(const std::string& reason);

  const Environment env_;
  PushState state_;
  Backoff backoff_{absl::Seconds(1), env_.longest_pause};
  std::string noted_;  // the reason that was noted since the last success
  bool lost_ = false;  // the source
};

}  // namespace vmeventd::client
