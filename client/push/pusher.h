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

// State of a push, as its state file, its metrics and `--status` have it.
struct PushState {
  std::string target;  // PushTarget::shown
  std::string format;
  // Totals of all times.
  uint64_t requests = 0;   // requests that were answered 2xx
  uint64_t delivered = 0;  // events in them
  uint64_t set_aside = 0;  // events
  uint64_t failures = 0;   // requests that were not delivered
  uint64_t gaps = 0;       // GAPs among the events
  // InfinitePast: never.
  absl::Time last_success = absl::InfinitePast();
  absl::Time last_error = absl::InfinitePast();
  std::string error;                                 // the last
  absl::Time failing_since = absl::InfinitePast();   // unset by a success
  absl::Time observed_until = absl::InfinitePast();  // the newest event that is done with
  absl::Time waiting_since = absl::InfinitePast();   // observe time of the oldest that waits
  std::string ended;                                 // why it ended by itself; empty: it did not

  bool operator==(const PushState&) const = default;
};

// The state file's content.
std::string ToJson(const PushState& state);
// INVALID_ARGUMENT: it is none.
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

// Account of a push, for its state file, its metrics and people. One thread.
class PushLog {
 public:
  using Report = std::function<void(const PushState&)>;

  // Continues the counts of `state`; `report` gets it after each change.
  PushLog(PushState state, Report report, PrintSentence note, std::function<absl::Time()> now)
      : state_(std::move(state)),
        report_(std::move(report)),
        note_(std::move(note)),
        now_(std::move(now)) {}

  const PushState& state() const { return state_; }
  void Note(const std::string& sentence) const { note_(sentence); }
  // The receiver took the events.
  void Delivered(Formatter::Events events);
  void SetAside(Formatter::Events events, const std::string& reason);
  // A request was not delivered.
  void Failed(const std::string& reason);
  // It is tried again, and the events wait, if there are any.
  void Waits(const std::string& reason, Formatter::Events events);
  // The receiver can be reached again, and no event waits.
  void Recovered();
  // `why` there is no connection to the source, for which some seconds are no failure; empty: there
  // is one. Called again and again.
  void Loss(const std::string& why);
  // The push ends by itself.
  void Ended(const std::string& why);

 private:
  void Done(Formatter::Events events);
  void NoteRecovery();
  // Reports each reason once, until something is delivered.
  void NoteFailure(const std::string& reason, absl::string_view then);

  PushState state_;
  const Report report_;
  const PrintSentence note_;
  const std::function<absl::Time()> now_;
  std::string noted_;  // the reason that was noted since the last success
  absl::Time lost_since_ = absl::InfinitePast();  // the source; unset: it is there
};

// Delivers events by requests: returns once each event was acknowledged or durably set aside, so
// that a cursor may pass it. Repeats what fails, for ever. One thread.
class Pusher : public EventConsumer {
 public:
  static constexpr absl::Duration kFirstPause = absl::Seconds(1);
  static constexpr absl::Duration kLongestPause = absl::Minutes(5);
  // The longest pause that a receiver can ask for.
  static constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

  struct Environment {
    size_t limit = 1;  // events of a request
    PushFormat format = PushFormat::kCloudEvents;
    std::string form;  // the template of kTemplate
    std::function<HttpAnswer(const PushBody& body)> post;
    std::function<absl::Status(const std::string& lines)> set_aside;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    PushLog* log = nullptr;  // outlives the pusher
    std::function<absl::Time()> now = absl::Now;
    std::function<double()> random = RandomFraction;
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
