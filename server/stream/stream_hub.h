#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/access/clients.h"
#include "server/eventlog/event_log.h"
#include "server/stream/checked_requests.h"
#include "server/stream/stream_cursor.h"
#include "server/stream/stream_lag.h"
#include "server/stream/stream_meters.h"
#include "server/stream/watch_stream.h"

namespace vmeventd {

struct StreamOptions {
  absl::Duration progress_interval = absl::Seconds(10);  // for a client that sets none
  absl::Duration write_timeout = absl::Seconds(60);      // time after which a pending write ends it
  // Limit of a message while few are in flight.
  size_t message_bytes = StreamCursor::kMaxMessageBytes;
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
