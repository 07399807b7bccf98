#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/access/access.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"
#include "server/stream/stream_cursor.h"

namespace vmeventd {

struct StreamOptions {
  absl::Duration progress_interval = absl::Seconds(10);  // for a client that sets none
  absl::Duration write_timeout = absl::Seconds(60);      // time after which a pending write ends it
  // Limit of a message while few are in flight.
  size_t message_bytes = StreamCursor::kMaxMessageBytes;
};

class StreamHub;
class WatchStream;

// A call that is answered with a stream. Lives until OnDone. Any thread.
class StreamCall {
 public:
  // Reports from now on to `stream` what happens to the call. Call it once, before the other
  // methods.
  virtual void AnswerBy(WatchStream* stream) = 0;
  // Counts `bytes` as held by the call until it is done. RESOURCE_EXHAUSTED: that would be too
  // many.
  virtual absl::Status Hold(size_t bytes) = 0;
  // Sends `message`, which must stay until OnWriteDone. One at a time.
  virtual void Write(const grpc::ByteBuffer* message) = 0;
  // Ends the call with `status`. Call it once, and not during a write.
  virtual void End(const absl::Status& status) = 0;
  // Sends `status` now, even if the client does not read: a cancellation overtakes data that waits
  // to be read. OnCancel follows; End must still be called.
  virtual void Abort(const absl::Status& status) = 0;

 protected:
  ~StreamCall() = default;
};

enum class StreamEnd {
  kClient,          // the client cancelled it or went away
  kOutOfRange,      // its cursor is no longer retained
  kStalledWrite,    // the client did not read for the write timeout
  kShutdown,        // vmeventd stops
  kLimit,           // refused: too many streams
  kInvalidRequest,  // refused: the request is wrong
  kError,           // any other error, such as a journal that cannot be read
};
// Labels of a metric.
inline constexpr std::array<const char*, 7> kStreamEndNames = {
    "client", "out_of_range", "stalled_write", "shutdown", "limit", "invalid_request", "error"};

// Counters of the streams of one hub. Any thread.
class StreamMeters {
 public:
  // Counts a call that ended with `status`. RESOURCE_EXHAUSTED counts as `exhausted`, UNAVAILABLE
  // as `unavailable`.
  void CountEnd(const absl::Status& status, StreamEnd exhausted, StreamEnd unavailable) {
    StreamEnd end = StreamEnd::kError;
    if (absl::IsCancelled(status)) end = StreamEnd::kClient;
    if (absl::IsOutOfRange(status)) end = StreamEnd::kOutOfRange;
    if (absl::IsResourceExhausted(status)) end = exhausted;
    if (absl::IsUnavailable(status)) end = unavailable;
    if (absl::IsInvalidArgument(status)) end = StreamEnd::kInvalidRequest;
    ends_[static_cast<size_t>(end)].Add();
  }
  uint64_t ends(StreamEnd end) const { return ends_[static_cast<size_t>(end)].value(); }

  Counter opened;
  // Passed to the network.
  Counter sent_messages;
  Counter sent_events;
  Counter sent_bytes;
  // Time from an event's publication until gRPC has written it, for the streams that were open
  // then.
  LatencyHistogram public_to_sent;

 private:
  std::array<Counter, kStreamEndNames.size()> ends_;
};

// One WatchEvents call. What happens to it is recorded and wakes it. Only its turns call gRPC, one
// at a time and without a lock. At most one write or one query of the journal is pending. Any
// thread; only a turn does work.
class WatchStream : public std::enable_shared_from_this<WatchStream> {
 public:
  // Idle until Begin. The pointers outlive it. `description` is without the position.
  WatchStream(StreamHub* hub, StreamCall* call, v1::Stream description, StreamCursor cursor);

  // Begins. Call it after StreamCall::AnswerBy: a write before that would have nobody to report to.
  void Begin();
  // Call it when there may be something to send, or a reason to end.
  void Wake();
  // Sends a Progress after everything that is published by now was sent.
  void RequestProgress() {
    beat_ = true;
    Wake();
  }
  // Ends the call before it sends more. With `cut`, the client gets `status` even if it does not
  // read.
  void End(absl::Status status, bool cut = false);
  // Sends a Progress if one is due, and cuts a write that has been pending for too long.
  void CheckDeadline(absl::Duration now);

  // Returns its description; `newest` is the newest event.
  v1::Stream Describe(uint64_t newest) const;
  // Events up to this sequence were passed to the network, or do not match.
  uint64_t delivered() const { return delivered_; }
  const std::string& id() const { return description_.stream_id(); }

  // The call's reports, from gRPC's threads; none of these methods blocks.

  // The write is done. False: the client is gone.
  void OnWriteDone(bool ok);
  // The client has cancelled. The stream still ends the call.
  void OnCancel() { End(absl::CancelledError("the call was cancelled")); }
  // The call is over, and this is the last use of the stream.
  void OnDone();

 private:
  // What it waits for before it sends more.
  enum class Pending { kNothing, kWrite, kReading };

  // Does all that can be done now.
  void Turn();
  // Sends what there is, or asks the journal.
  void Send();
  // Reads what Send asked for, on the history thread. Returns true, or the error.
  absl::StatusOr<bool> ReadJournal(const absl::StatusOr<JournalReader*>& journal);
  void CountMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StreamHub* const hub_;
  StreamCall* const call_;
  const v1::Stream description_;
  const absl::Duration opened_at_;  // on the monotonic clock
  std::atomic<bool> beat_{false};   // a Progress is due

  // Used by the turn; while kReading is pending, by the history thread.
  StreamCursor cursor_;
  grpc::ByteBuffer message_;  // message in flight
  std::atomic<uint64_t> delivered_;

  Mutex mutex_;
  // A turn waits or is under way. The first one is Begin's; stays true after the last one.
  bool turn_ ABSL_GUARDED_BY(mutex_) = true;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;  // since the last turn began
  Pending pending_ ABSL_GUARDED_BY(mutex_) = Pending::kNothing;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool cut_ ABSL_GUARDED_BY(mutex_) = false;         // the call is to be aborted with end_
  StreamCursor::Step step_ ABSL_GUARDED_BY(mutex_);  // the last one, without its message
  absl::Duration since_ ABSL_GUARDED_BY(mutex_);     // begin or end of the last write
};

// A checked WatchEventsRequest, without its filter.
struct WatchRequest {
  WatchStart start;
  std::optional<absl::Duration> progress_interval{};  // unset: the server's default
  bool durable_only = false;
};

// A checked ListStreamsRequest.
struct StreamPage {
  int size = 0;
  std::string after{};  // id of the last stream of the previous page; empty: this is the first page
};

// Distance of the open streams from the newest event.
struct StreamLag {
  int behind = 0;  // streams that are not at the newest event
  uint64_t max_events = 0;
  uint64_t summed_events = 0;
};

// All open WatchEvents streams. Owns them; outlives the gRPC server. Any thread, unless stated
// otherwise. Calls gRPC without holding its lock.
class StreamHub {
 public:
  // The pointers outlive the hub, which subscribes to the log. `threads` is 0 for tests that run
  // the turns themselves.
  StreamHub(EventLog* log, const Clock* clock, StreamOptions options, int threads = 2);
  ~StreamHub();
  // Answers one call of `peer`, or refuses it. The turns of peers alternate.
  void Open(StreamCall* call, const WatchRequest& request, const v1::EventFilter& filter,
            const CallPeer& peer);
  // Returns the open streams, by their ids; `newest` is the newest event.
  v1::ListStreamsResponse List(const StreamPage& page, uint64_t newest) const;
  // Ends a call with `status`, and counts the end.
  void Refuse(StreamCall* call, const absl::Status& status) {
    meters_.CountEnd(status, StreamEnd::kLimit, StreamEnd::kShutdown);
    call->End(status);
  }

  // Makes each stream look for new events in its next turn. Does not block.
  void WakeStreams();
  // Runs one turn of a stream; false: none waits.
  bool RunTurn() { return turns_.RunTurn(); }

  // Sends the Progress messages and cuts the writes that are due. Call it about every second, on
  // one thread.
  void CheckDeadlines();

  // Call it once nothing more will be published: refuses new streams, and ends each one after its
  // last event. Streams that have not ended after `timeout` are cut. Returns when no stream is
  // open, or soon after.
  void Drain(absl::Duration timeout);

  int stream_count() const {
    const MutexLock lock(&mutex_);
    return static_cast<int>(streams_.size());
  }
  // Returns statistics of the open streams; `newest` is the newest event.
  StreamLag Lag(uint64_t newest) const;
  const StreamMeters& meters() const { return meters_; }

 private:
  friend class WatchStream;

  absl::Status OpenStream(StreamCall* call, const WatchRequest& request,
                          const v1::EventFilter& filter, const CallPeer& peer);
  // Removes and destroys a stream whose call is done and which is no longer used.
  void StreamDone(WatchStream* stream);
  // Size limit of the next message. It shrinks as more bytes are in flight, so that all messages
  // together stay bounded even if no client reads.
  size_t MessageBytes() const;
  // Gives freed memory back to the kernel, some time after many streams have ended.
  void TrimMemory(absl::Duration now);
  std::vector<std::shared_ptr<WatchStream>> Streams() const;
  void WaitUntilEmpty(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return streams_.empty(); });
  }

  EventLog* const log_;
  const Clock* const clock_;
  const StreamOptions options_;
  StreamMeters meters_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::btree_map<std::string, std::shared_ptr<WatchStream>> streams_ ABSL_GUARDED_BY(mutex_);
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;  // since the last TrimMemory that gave memory back
  absl::Duration trim_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  std::atomic<size_t> in_flight_{0};  // bytes of all messages whose write is pending

  std::atomic<bool> draining_{false};  // nothing more will be published
  std::atomic<bool> wake_waits_{false};
  TurnQueue turns_;
  std::vector<std::thread> threads_;
};

}  // namespace vmeventd
