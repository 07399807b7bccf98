#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/access/access.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"
#include "server/stream/watch_stream.h"

namespace vmeventd {

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
  void Open(StreamCall* call, const WatchRequest& request, const RequestFilter& filter,
            const CallPeer& peer);
  // Returns the open streams, by their ids; `newest` is the newest event.
  v1::ListStreamsResponse List(const StreamPage& page, uint64_t newest) const;
  // Has the stream of that Progress.stream_id send a Progress once it has caught up. NOT_FOUND: no
  // such stream is open.
  absl::Status RequestProgress(const std::string& stream_id);
  // Ends a call with `status`, and counts that.
  void Refuse(StreamCall* call, const absl::Status& status) {
    meters_.CountEnd(status, StreamEnd::kLimit, StreamEnd::kShutdown);
    call->End(status);
  }

  // Has each stream look for new events, in its next turn; a few do so at once, which takes less
  // than to wake a thread. Never waits for one.
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

  // Used by its streams.
  StreamMeters& meters() { return meters_; }
  TurnQueue* turns() { return &turns_; }  // where they search what to send
  EventLog* log() { return log_; }
  const Clock& clock() const { return *clock_; }
  const StreamOptions& options() const { return options_; }
  bool draining() const { return draining_; }

  // Removes a stream whose call is done and which is not used any more; the hub destroys it.
  void StreamDone(WatchStream* stream);
  // Limit of one message: less if more streams are open, so that all messages together stay in
  // bounds even if no client reads.
  size_t MessageBytes() const;

 private:
  absl::Status OpenStream(StreamCall* call, const WatchRequest& request,
                          const RequestFilter& filter, const CallPeer& peer);
  std::vector<std::shared_ptr<WatchStream>> Streams() const;
  void WaitUntilEmpty(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return streams_.empty(); });
  }

  static constexpr int kFewStreams = 2;

  EventLog* const log_;
  const Clock* const clock_;
  const StreamOptions options_;
  StreamMeters meters_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::btree_map<std::string, std::shared_ptr<WatchStream>> streams_ ABSL_GUARDED_BY(mutex_);

  std::atomic<bool> draining_{false};  // nothing more will be published
  std::atomic<bool> wake_waits_{false};
  TurnQueue turns_;
  std::vector<std::thread> threads_;
};

}  // namespace vmeventd
