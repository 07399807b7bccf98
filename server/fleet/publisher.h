#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/fleet/cloud_event.h"
#include "server/fleet/fleet_meters.h"
#include "server/fleet/fleet_position.h"
#include "server/fleet/fleet_sink.h"
#include "server/fleet/node_state.h"
#include "server/fleet/outbox.h"
#include "server/fleet/publishing_problems.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Publishes the journal into the fleet's stream: each event once, in order, for as long as the
// journal has it. The journal is the queue, so that servers that are away cost no memory.
//
// One batch is under way at a time, and the position moves behind it when all of it is
// acknowledged. When messages have no answer, the publisher connects again and asks the stream for
// the node's last message. What lies between the position and that message was sent and not
// acknowledged: the publisher looks which of it the stream has, and sends the rest. Each message
// says behind which position it was sent: the last one has the position where the file is gone or
// old. A stream that was made again, or restored from a copy, gets what it lacks. What it refuses
// for good is a GAP.
class FleetPublisher {
 public:
  // Limit of a batch: so many events may have to be looked for in the stream.
  static constexpr size_t kMaxBatchEvents = 1'024;
  static constexpr size_t kMaxBatchBytes = size_t{256} << 10;
  // Size of the first batch of a connection. A batch that is acknowledged quickly, beyond what the
  // network takes, doubles the next one's limit, a slow one halves it: nodes that return together
  // share the servers.
  static constexpr size_t kFirstBatchEvents = 16;
  static constexpr absl::Duration kQuickBatch = absl::Milliseconds(250);
  static constexpr absl::Duration kSlowBatch = absl::Seconds(1);
  // A longer one is no network's, but of servers that are slow.
  static constexpr absl::Duration kMaxRoundTrip = absl::Seconds(1);
  // Limit of the node's messages that are looked at to find these: a batch, and what stands before
  // it when its position could not be recorded.
  static constexpr size_t kMaxSearched = 4 * kMaxBatchEvents;
  // Limit of the node's messages that are asked, from the last one back, until one says a position
  // that the stream still has.
  static constexpr int kMaxDoubted = 64;
  // Attempts to connect, and to send what was refused: the wait doubles from the first to the last,
  // until a batch is acknowledged. A random half of it is left out, so that the nodes of a fleet do
  // not come back together.
  static constexpr absl::Duration kFirstRetry = absl::Seconds(1);
  static constexpr absl::Duration kMaxRetry = absl::Minutes(1);
  // All nodes of a fleet lose their servers at the same moment. For each node that is known a wait
  // may be that much longer, up to kMaxRetry, so that 200 of them come back in a second.
  static constexpr absl::Duration kRetryANode = absl::Milliseconds(5);
  // Interval of looks at the connection while there is nothing to publish.
  static constexpr absl::Duration kIdleCheck = absl::Seconds(10);
  // Wait until a journal that could not be read is asked again.
  static constexpr absl::Duration kReadRetry = absl::Seconds(1);

  // All outlive the publisher. `random`: numbers from 0 to 1.
  FleetPublisher(PublisherOptions options, FleetSink* sink, Outbox* outbox,
                 std::unique_ptr<PositionFile> file, const Clock* clock,
                 std::function<double()> random);

  // Steps until Stop. The publisher's thread.
  void Run();
  // Connects, or publishes one batch, where that is due. Returns the time until the next step
  // if no Wake comes before; kIdleCheck: all is published. The publisher's thread; for tests.
  absl::Duration Step();

  // There are more events. Any thread.
  void Wake();
  // Ends Run soon, with a last heartbeat: the next start publishes unacknowledged events.
  // Any thread.
  void Stop();

  // Any thread. Without a problem all is well; `since` is when `connected` last changed.
  const FleetMeters& meters() const { return meters_; }
  v1::Publishing state() const;

 private:
  // Id of the journal of position_.
  FleetEncoder& encoder();
  // Begins with another journal, at the oldest event that it has.
  void Begin(const Outbox::Range& range);
  // Looks at the stream, over a new connection where that is needed.
  absl::Status Look();
  // The journal has given, or will give, the sequences of events that the stream has and it lacks
  // to other events. These wait until it is another journal.
  absl::Status CheckJournal();
  // Finds what the stream has behind the position.
  absl::Status Compare();
  // State of an acknowledged message in the stream.
  struct OwnMessage {
    bool is_there = false;  // the last one
    uint64_t replaced = 0;  // the first place at which another stands instead; 0: none does
  };
  absl::StatusOr<OwnMessage> CheckOwn();
  // The last message of the node, from `last` back and before a place, that says a position which
  // the stream still has. What was sent before a restoration was noticed says one of the stream
  // before that.
  absl::StatusOr<FleetSink::Stored> LastTrue(FleetSink::Stored last, uint64_t before);
  // Behind which place what has no answer is searched; `last`: the last true message.
  FleetPosition SentAfter(const FleetSink::Stored& last) const;
  // The stream lacks the message at the position. Goes back to behind what the last true message
  // was sent.
  void GoBack(const FleetSink::Stored& last);
  // The stream has what is found behind `after`, up to the place `tail`, and of what is before that
  // lacks nothing. `last`: of the last true message.
  absl::Status Search(const FleetPosition& after, const FleetPosition& last, uint64_t tail);
  void SetConnected(bool connected);
  absl::Duration PublishBatch(const std::vector<EventBlockPtr>& blocks);
  // Writes what the buckets lack; returns when the next of it is due.
  absl::Duration WriteState();
  absl::Duration PublishGap(uint64_t first, uint64_t last, absl::string_view why);
  // Publishes `batch`; when all of it is acknowledged the position is `through`.
  absl::Duration Send(std::vector<FleetMessage> batch, uint64_t through);
  // Each of `batch` has an answer, and not all of them are stored.
  absl::Duration TakeRefusals(const std::vector<FleetMessage>& batch,
                              const FleetSink::Answers& answers);
  void AdjustBatch(absl::Duration took);
  // Everything up to `sequence` is in the stream, and nothing later up to `stream_sequence`; 0: it
  // is not known.
  void Advance(uint64_t sequence, uint64_t stream_sequence);
  // Sets the position, and records it.
  void MoveTo(FleetPosition position);
  // Looks at the stream before anything else is sent, and says when.
  absl::Duration Fail(const absl::Status& why);
  // Reports the problem, and returns the wait until the next attempt.
  absl::Duration NextRetry(const absl::Status& why);
  // Everything that was sent is acknowledged.
  void EndRetries();

  const PublisherOptions options_;
  FleetSink* const sink_;
  Outbox* const outbox_;
  const std::unique_ptr<PositionFile> file_;
  const Clock* const clock_;
  const std::function<double()> random_;
  FleetMeters meters_;
  PublishingProblems problems_;

  // Everything up to its sequence is in the stream, and nothing later is but what is stored behind
  // its stream sequence.
  FleetPosition position_;
  std::optional<FleetEncoder> encoder_;
  std::set<uint64_t> present_;  // later ones that the stream has already
  // The first and the last message of each batch since the stream was looked at, sequences by
  // place; of many batches some. Servers of NATS 2.9 that are killed can lose what they
  // acknowledged in the middle of the stream, and store other messages there.
  std::map<uint64_t, uint64_t> acknowledged_;
  uint64_t searched_ = 0;  // all that is present was found up to here in the stream
  uint64_t unfit_ = 0;     // the stream refuses this event for good; 0: none
  std::string unfit_why_;
  absl::Status rolled_back_;  // why nothing of this journal can be published any more
  FleetSink::Log log_;        // as it was looked at last
  bool connected_ = false;    // changed by SetConnected
  bool doubt_ = true;         // messages that were sent may have no answer
  absl::Duration look_at_ = absl::ZeroDuration();
  absl::Duration retry_at_ = absl::ZeroDuration();
  absl::Duration retry_wait_ = absl::ZeroDuration();
  size_t batch_events_ = kFirstBatchEvents;  // the limit of the next batch
  absl::Duration next_batch_at_ = absl::ZeroDuration();
  TokenBucket rate_;
  std::unique_ptr<NodeState> node_state_;  // null: see PublisherOptions.heartbeat
  bool position_failed_ = false;

  mutable Mutex mutex_;
  absl::Time since_ ABSL_GUARDED_BY(mutex_);  // it is connected, or is not
  CondVar changed_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
