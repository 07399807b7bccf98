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
  absl::Duration progress_interval = absl::Seconds(10);  // default of a client that sets none
  absl::Duration write_timeout = absl::Seconds(60);      // time after which a pending write ends it
  size_t message_bytes = StreamCursor::kMaxMessageBytes;  // limit while few messages are in flight
};

class StreamHub;
class WatchStream;

// A call that is answered with a stream. Lives until OnDone. Any thread.
class StreamCall {
 public:
  // Passes what happens to the call on to `stream`. Once, before the rest.
  virtual void AnswerBy(WatchStream* stream) = 0;
  // Counts so many bytes as the call's until it is done. RESOURCE_EXHAUSTED: there are too many.
  virtual absl::Status Hold(size_t bytes) = 0;
  // Sends `message`, which must stay until OnWriteDone. One at a time.
  virtual void Write(const grpc::ByteBuffer* message) = 0;
  // Ends the call with `status`. Once, and not during a write.
  virtual void End(const absl::Status& status) = 0;
  // Sends `status` now, even if the client does not read: a cancellation overtakes data that waits
  // to be read. OnCancel follows, and End must too.
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
  kError,           // the journal could not be read, and so on
};
// Labels of a metric.
inline constexpr std::array<const char*, 7> kStreamEndNames = {
    "client", "out_of_range", "stalled_write", "shutdown", "limit", "invalid_request", "error"};

// Counters of the streams of one hub. Any thread.
class StreamMeters {
 public:
  // A call that ended with `status`, which if it is RESOURCE_EXHAUSTED means `exhausted`, and if it
  // is UNAVAILABLE, `unavailable`.
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
  // Handed over to the network.
  Counter sent_messages;
  Counter sent_events;
  Counter sent_bytes;
  // Time from an event's publication until gRPC has written it, for the streams that were open
  // then.
  LatencyHistogram public_to_sent;

 private:
  std::array<Counter, kStreamEndNames.size()> ends_;
};

// One WatchEvents call. What happens to it is recorded and wakes it; its turns alone call gRPC, one
// at a time and without a lock. One write or one question to the journal is pending. Any thread;
// only a turn does work.
class WatchStream : public std::enable_shared_from_this<WatchStream> {
 public:
  // Idle until Begin. The pointers outlive it. `description` lacks the position.
  WatchStream(StreamHub* hub, StreamCall* call, v1::Stream description, StreamCursor cursor);

  // Begins. Call it once the stream answers its call: a write before that would have nobody to
  // report to.
  void Begin();
  // There may be something to send, or to end.
  void Wake();
  // Sends a Progress once everything that is published by now was sent.
  void RequestProgress() {
    beat_ = true;
    Wake();
  }
  // Ends the call before it sends more. With `cut` the client gets `status` even if it does not
  // read.
  void End(absl::Status status, bool cut = false);
  // Sends a beat or cuts a write that is pending for too long, if either is due.
  void CheckDeadline(absl::Duration now);

  // Its description, `newest` being the newest event.
  v1::Stream Describe(uint64_t newest) const;
  // Events up to this sequence were passed to the network, or do not match.
  uint64_t delivered() const { return delivered_; }
  const std::string& id() const { return description_.stream_id(); }

  // The call's. gRPC's threads call these; none blocks.
  // The write is done. False: the client is gone.
  void OnWriteDone(bool ok);
  // The client has cancelled. The stream still ends the call.
  void OnCancel() { End(absl::CancelledError("the call was cancelled")); }
  // The call is over, and this is the last use of the stream.
  void OnDone();

 private:
  // Cause of a wait before it sends more.
  enum class Pending { kNothing, kWrite, kReading };

  // Goes as far as it can.
  void Turn();
  // Sends what there is, or asks the journal.
  void Send();
  // Reads what Send asked for, on the history thread. True, or the error of reading it.
  absl::StatusOr<bool> ReadJournal(const absl::StatusOr<JournalReader*>& journal);
  void CountMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StreamHub* const hub_;
  StreamCall* const call_;
  const v1::Stream description_;
  const absl::Duration opened_at_;  // on the monotonic clock
  std::atomic<bool> beat_{false};   // a Progress is due

  // The turn's; while kReading is pending, the history thread's.
  StreamCursor cursor_;
  grpc::ByteBuffer message_;  // message in flight
  std::atomic<uint64_t> delivered_;

  Mutex mutex_;
  // One waits, or is under way; the first is Begin's, and after the last it stays so.
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
  std::string after{};  // id of the last stream of the page before; empty: there is none
};

// Distance of the open streams from the newest event.
struct StreamLag {
  int behind = 0;  // streams that are not at the newest event
  uint64_t max_events = 0;
  uint64_t summed_events = 0;
};

// Every open WatchEvents stream. Owns them; outlives the gRPC server. Any thread, unless stated
// otherwise. Calls gRPC without holding its lock.
class StreamHub {
 public:
  // The pointers outlive the hub, which subscribes to the log. `threads` is 0 for tests that run
  // the turns themselves.
  StreamHub(EventLog* log, const Clock* clock, StreamOptions options, int threads = 2);
  ~StreamHub();
  // Answers one call of `peer`, whose turns alternate with those of others, or refuses it.
  void Open(StreamCall* call, const WatchRequest& request, const v1::EventFilter& filter,
            const CallPeer& peer);
  // Returns the open streams, by their ids; `newest` is the newest event.
  v1::ListStreamsResponse List(const StreamPage& page, uint64_t newest) const;
  // Ends a call with `status`, and counts that.
  void Refuse(StreamCall* call, const absl::Status& status) {
    meters_.CountEnd(status, StreamEnd::kLimit, StreamEnd::kShutdown);
    call->End(status);
  }

  // Each stream looks for new events in its next turn. Never waits for one.
  void WakeStreams();
  // Runs one turn of a stream; false: none waits.
  bool RunTurn() { return turns_.RunTurn(); }

  // Sends the beats and cuts the writes that are due. Call it about every second. One thread.
  void CheckDeadlines();

  // Call it once nothing more will be published: refuses new streams, and ends each one after its
  // last event. Streams that have not ended after `timeout` are cut. Returns when no stream is
  // open, or soon after.
  void Drain(absl::Duration timeout);

  int stream_count() const {
    const MutexLock lock(&mutex_);
    return static_cast<int>(streams_.size());
  }
  // Statistics of the open streams, `newest` being the newest event.
  StreamLag Lag(uint64_t newest) const;
  const StreamMeters& meters() const { return meters_; }

 private:
  friend class WatchStream;

  absl::Status OpenStream(StreamCall* call, const WatchRequest& request,
                          const v1::EventFilter& filter, const CallPeer& peer);
  // Removes a stream whose call is done and which is not used any more; the hub destroys it.
  void StreamDone(WatchStream* stream);
  // Limit of the next message: less while more bytes are in flight, so that all messages together
  // stay in bounds even if no client reads.
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
