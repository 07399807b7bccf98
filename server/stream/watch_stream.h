#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/eventlog/event_log.h"
#include "server/stream/stream_call.h"
#include "server/stream/stream_cursor.h"

namespace vmeventd {

class StreamHub;

// One WatchEvents call. An event of the call, such as a finished write, is recorded and wakes the
// stream. Only its turns call gRPC, one at a time and without a lock. At most one write or one
// query of the journal is pending. Any thread; only a turn does work.
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
  // Sequence up to which all events were passed to the network, or do not match.
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
  // The pending operation, which must end before the stream sends more.
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

}  // namespace vmeventd
