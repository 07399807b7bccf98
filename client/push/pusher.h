#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/consume/delivery.h"
#include "client/push/http.h"
#include "client/push/push_state.h"
#include "client/push/request.h"

namespace vmeventd::client {

// Collects what a source delivers on its thread, and passes it in batches to another sink, on the
// thread of Run(): as many events as there may be, or those that came within a time. The source
// waits while too many do. A position goes with the event that it is behind.
class Batcher : public WatchSink {
 public:
  static constexpr absl::Duration kIdle = absl::Seconds(1);

  struct Limits {
    size_t events = 100;       // limit of a batch
    size_t bytes = 256 << 10;  // limit of a batch, encoded; one event may have more
    absl::Duration time;       // time that the first event of a batch waits for others
    size_t waiting = 1000;     // events, above which the source waits
    size_t waiting_bytes = 4 << 20;
  };
  // The source ends when `stop` does.
  Batcher(const Limits& limits, std::stop_token stop) : limits_(limits), stop_(std::move(stop)) {}

  bool OnOpen() override { return !stop_.stop_requested(); }
  // A push begins with no snapshot.
  bool OnVms(const NodeVms& /*vms*/) override { return true; }
  // The events have nodes.
  bool OnEvents(NodeEvents events) override;
  bool OnPosition(const ServerPosition& position) override;

  // The source has ended: what is there is passed without waiting for more.
  void Close();
  // Passes batches until the source has ended and all is passed, `to` or `between` ends it by
  // false, or a stop. Calls `between` before each batch, and at least every kIdle.
  void Run(
      WatchSink* to, const std::function<bool()>& between = [] { return true; });

 private:
  struct Item {
    NodeEvent event;
    size_t bytes = 0;
    absl::Time arrival;
  };
  struct Batch {
    std::map<size_t, ServerPosition> positions;  // before the events, by server
    NodeEvents events;
  };

  // Waits for a batch; empty: none came within kIdle, or any more.
  Batch Take();
  bool Ended();
  // Time at which the batch that begins the queue is complete.
  absl::Time CompleteAt() const;

  const Limits limits_;
  const std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Item> items_;  // guarded by mutex_, as the rest
  // Positions of servers without an event in the queue.
  std::map<size_t, ServerPosition> positions_;
  size_t bytes_ = 0;  // of the queue
  bool closed_ = false;
};

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
  // The push ends by itself.
  void Ended(const std::string& why);
  // Sets the creation time of the stream that gets the events.
  void SetStream(const std::string& created);

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
};

// Delivers events by requests: returns once each event was acknowledged or durably set aside, so
// that a cursor may pass it. Repeats what fails, for ever. One thread.
class Pusher : public EventConsumer {
 public:
  static constexpr absl::Duration kFirstPause = absl::Seconds(1);
  static constexpr absl::Duration kLongestPause = absl::Minutes(5);

  struct Credentials {
    std::vector<std::string> headers;  // lines, beside Content-Type and the signature
    std::vector<std::string> secrets;  // empty: no signature
  };
  struct Environment {
    PushFormat format = PushFormat::kCloudEvents;
    std::string form;  // the template of kTemplate
    // Reads them, for each request: they may be replaced. An error is a request that failed.
    std::function<absl::StatusOr<Credentials>()> credentials;
    HttpPost post;
    std::function<absl::Status(const std::string& lines)> set_aside;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    PushLog* log = nullptr;  // outlives the pusher
    std::function<absl::Time()> now;
    std::function<double()> random = RandomFraction;
  };
  // `limit`: events of a request.
  Pusher(size_t limit, Environment environment) : limit_(limit), env_(std::move(environment)) {}

  // CANCELLED: it was stopped. NOT_FOUND: the receiver wants no more (410).
  absl::Status Consume(Formatter::Events events) override;

 private:
  // OUT_OF_RANGE: the events are too many for one request, or one of them is wrong.
  absl::Status Send(Formatter::Events events);
  HttpAnswer Post(const PushBody& body);
  absl::Status SetAside(Formatter::Events events, const std::string& reason);

  const size_t limit_;
  const Environment env_;
};

}  // namespace vmeventd::client
