#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/eventlog/event_log.h"
#include "server/stream/stream_call.h"
#include "server/stream/stream_cursor.h"

namespace vmeventd {

struct StreamOptions {
  absl::Duration progress_interval = absl::Seconds(10);  // default of a client that sets none
  absl::Duration write_timeout = absl::Seconds(60);      // time after which a pending write ends it
  // Size of one answer of the journal while few streams are open.
  size_t history_bytes = StreamCursor::kHistoryBytes;
};

class StreamHub;

enum class StreamEnd {
  kClient,          // the client cancelled it or went away
  kOutOfRange,      // its cursor is no longer retained
  kStalledWrite,    // the client did not read for the write timeout
  kShutdown,        // vmeventd stops
  kLimit,           // refused: too many streams
  kInvalidRequest,  // refused: the request is wrong
  kError,           // the journal could not be read, and so on
};
inline constexpr size_t kStreamEnds = static_cast<size_t>(StreamEnd::kError) + 1;

// Label of a metric: "client", "out_of_range".
inline absl::string_view StreamEndName(StreamEnd end) {
  constexpr std::array<const char*, kStreamEnds> kNames = {
      "client", "out_of_range", "stalled_write", "shutdown", "limit", "invalid_request", "error"};
  return kNames[static_cast<size_t>(end)];
}

// Counters of the streams of one hub. Any thread.
class StreamMeters {
 public:
  // A call that ended with `status`: one that was open, or one that was refused. `stopping`: while
  // the daemon stops; at other times it is the journal that is UNAVAILABLE.
  void CountEnd(const absl::Status& status, bool stopping) {
    StreamEnd end = EndOf(status, StreamEnd::kStalledWrite);
    if (end == StreamEnd::kShutdown && !stopping) end = StreamEnd::kError;
    ends_[static_cast<size_t>(end)].Add();
  }
  void CountRefusal(const absl::Status& status) {
    ends_[static_cast<size_t>(EndOf(status, StreamEnd::kLimit))].Add();
  }
  uint64_t ends(StreamEnd end) const { return ends_[static_cast<size_t>(end)].value(); }

  Counter opened;
  Counter turns;  // turns of streams on the fan-out's threads
  // Handed over to the network.
  Counter sent_messages;
  Counter sent_events;
  Counter sent_bytes;
  // Time from an event's publication until gRPC has written it, for the streams that were open
  // then.
  LatencyHistogram public_to_sent;

 private:
  static StreamEnd EndOf(const absl::Status& status, StreamEnd exhausted) {
    switch (status.code()) {
      case absl::StatusCode::kCancelled:
        return StreamEnd::kClient;
      case absl::StatusCode::kOutOfRange:
        return StreamEnd::kOutOfRange;
      case absl::StatusCode::kResourceExhausted:
        return exhausted;
      case absl::StatusCode::kUnavailable:
        return StreamEnd::kShutdown;
      case absl::StatusCode::kInvalidArgument:
        return StreamEnd::kInvalidRequest;
      default:
        return StreamEnd::kError;
    }
  }

  std::array<Counter, kStreamEnds> ends_;
};

// One WatchEvents call. It has one write in flight, or waits for its turn at the journal or for a
// Wake. Matches its filter in its turns only. Calls gRPC without a lock, from one thread at a time,
// and ends it once. Any thread.
class WatchStream : public CallStream, public std::enable_shared_from_this<WatchStream> {
 public:
  // Idle until Begin. The pointers outlive it.
  WatchStream(StreamHub* hub, StreamCall* call, std::string peer, absl::Duration progress_interval,
              StreamCursor cursor);

  // Begins. Call it once the stream answers its call: a write before that would have nobody to
  // report to.
  void Begin();
  // There may be something to send. Does no work itself.
  void Wake();
  // Has it send a Progress once it has sent everything that is published by now. Does no work
  // itself.
  void RequestProgress();
  // Sends the rest of the log, which is complete, then ends with UNAVAILABLE.
  void Drain();
  // Ends at once, whatever is pending. The client gets `status` even if it does not read.
  void Cut(const absl::Status& status);
  // Sends a beat or cuts a write that is pending for too long, if either is due. Returns the
  // monotonic time at which to call it again.
  absl::Duration CheckDeadline(absl::Duration now);

  // Events up to this sequence have been passed to the network, or do not match.
  uint64_t delivered() {
    const MutexLock lock(&mutex_);
    return delivered_;
  }
  uint64_t id() const { return cursor_.id(); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // State of the stream. In kBuilding, kWriting and kReading a thread, a write or its turn at the
  // journal owns it, and it continues by itself afterwards.
  enum class State { kIdle, kBuilding, kWriting, kReading, kFinished };

  // Goes as far as it can: builds and writes a message, finishes, or waits.
  void Turn();
  // Sends what there is, with the journal's reader or why there is none if this is its turn at the
  // journal. True: more is left to do now. DATA_LOSS: the journal is damaged.
  absl::StatusOr<bool> Advance(const absl::StatusOr<JournalReader*>* journal = nullptr);
  // Finishes at once, if the stream is free and has ended.
  void FinishIfEnded();
  void CountMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StreamHub* const hub_;
  StreamCall* const call_;
  const std::string peer_;
  const absl::Duration progress_interval_;
  const absl::Duration opened_at_;          // on the monotonic clock
  std::atomic<bool> waits_for_turn_{true};  // the first turn is Begin's

  // Owned by the thread that set kBuilding; in kReading by the history thread; else by mutex_.
  StreamCursor cursor_;
  grpc::ByteBuffer message_;  // message in flight

  Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kIdle;
  bool again_ ABSL_GUARDED_BY(mutex_) = false;  // woken while busy
  bool beat_ ABSL_GUARDED_BY(mutex_) = false;   // a beat is due
  bool progress_requested_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  // Number of threads that abort the call: no End meanwhile.
  int cutting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  absl::Duration since_ ABSL_GUARDED_BY(mutex_);  // begin of the state
  uint64_t delivered_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
