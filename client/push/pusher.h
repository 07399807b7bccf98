#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/failure.h"
#include "client/consume/delivery.h"
#include "client/consume/source.h"
#include "client/push/http.h"
#include "client/push/request.h"
#include "vmeventd/internal/push_state.pb.h"

namespace vmeventd::client {

// Size of a push's batches.
struct BatchLimits {
  size_t events = 100;
  size_t bytes = 256 << 10;  // encoded; one event may have more
  absl::Duration time;       // time that the first event of a batch waits for others
};

// Passes what the source has to `to`, in batches, until the source ends, or `to` or `between` ends
// it by false. Calls `between` before each item, at least once a second. A position goes with the
// event that it is behind. Returns the source's code; kOk: it was ended. A batch that waits at a
// stop is not delivered: the next push reads it again.
ExitCode DeliverBatches(Source* source, const BatchLimits& limits, WatchSink* to,
                        const std::function<bool()>& between);

using internal::PushState;
// The state file's content is the state as JSON. INVALID_ARGUMENT: it is none.
absl::StatusOr<PushState> ParsePushState(absl::string_view text);

// Metrics for the node exporter's textfile collector. `name` distinguishes the pushes of a host.
std::string MetricsOf(const PushState& state, absl::string_view name);

// The state and the rest that `--status` shows.
struct PushStatus {
  PushState state;
  std::string name;
  bool running = false;
  std::string positions;  // the cursor file's content
  std::string set_aside_file;
  size_t set_aside_now = 0;  // events of that file, and those that are to be sent again
};
std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone);
// The status as one JSON object, without a newline.
std::string StatusJson(const PushStatus& status, absl::Time now);

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
  // The receiver took the events.
  void Delivered(Formatter::Events events);
  void SetAside(Formatter::Events events, const std::string& reason);
  // A request was not delivered.
  void Failed(const std::string& reason);
  // Waits before the next attempt: twice as long each time, and for `at_least`. The events wait, if
  // there are any. Returns whether to stop instead.
  bool Retry(const std::string& reason, Formatter::Events events, absl::Duration at_least = {});
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

  const Environment env_;
  PushState state_;
  Backoff backoff_{absl::Seconds(1), env_.longest_pause};
  std::string noted_;  // the reason that was noted since the last success
  bool lost_ = false;  // the source
};

// Delivers events by requests: returns once each event was acknowledged or durably set aside, so
// that a cursor may pass it. Repeats what fails, for ever. One thread.
class Pusher : public EventConsumer {
 public:
  // The longest pause that a receiver can ask for.
  static constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

  struct Environment {
    size_t limit = 1;  // events of a request
    PushFormat format = PushFormat::kCloudEvents;
    std::string form;  // the template of kTemplate
    std::function<HttpAnswer(const PushBody& body)> post;
    std::function<absl::Status(const std::string& lines)> set_aside;
    PushLog* log = nullptr;  // outlives the pusher
  };
  explicit Pusher(Environment environment) : env_(std::move(environment)) {}

  // CANCELLED: it was stopped. NOT_FOUND: the receiver wants no more (410).
  absl::Status Consume(Formatter::Events events) override;

 private:
  // OUT_OF_RANGE: the events are too many for one request, or one of them is wrong.
  absl::Status Send(Formatter::Events events);
  absl::Status SetAside(Formatter::Events events, const std::string& reason);

  const Environment env_;
};

}  // namespace vmeventd::client
