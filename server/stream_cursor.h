#ifndef VMEVENTD_SERVER_STREAM_CURSOR_H_
#define VMEVENTD_SERVER_STREAM_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/event_matcher.h"
#include "server/event_store.h"

namespace vmeventd {

// What one WatchEvents stream says next: its place in the log, and no more. It queues nothing, so
// that a slow reader costs what one message costs. Knows nothing of the network. One thread at a
// time.
class StreamCursor {
 public:
  static constexpr size_t kMaxMessageBytes = size_t{256} << 10;

  // `store` outlives the cursor. `snapshot`: the stream begins with begin.snapshot.
  StreamCursor(const EventStore* store, StreamBegin begin, EventMatcher matcher, bool snapshot);

  // The next message, a WatchEventsResponse: a Progress first, then the snapshot, then events as
  // they come. Unset when there is nothing to say; with `beat` that is a Progress instead.
  // OUT_OF_RANGE: the log no longer holds what comes next.
  absl::StatusOr<std::optional<grpc::ByteBuffer>> Next(absl::Time now, bool beat);

  // Everything matching up to this sequence is in the messages so far.
  uint64_t sequence() const { return sequence_; }

 private:
  enum class Phase { kOpening, kSnapshot, kSnapshotDone, kEvents };
  struct Batch;

  grpc::ByteBuffer ProgressMessage(absl::Time now) const;
  grpc::ByteBuffer SnapshotMessage();
  // Takes what matches and fits out of one block. False: the message is full.
  bool TakeBlock(const EventBlock& block, Batch* batch);
  // Fills `batch` from the log until it is full, the log ends or the scan was long enough.
  absl::Status Collect(Batch* batch);

  const EventStore* const store_;
  const EventMatcher matcher_;
  uint64_t sequence_;
  Phase phase_ = Phase::kOpening;
  const bool with_snapshot_;
  std::vector<VmRecordPtr> snapshot_;
  size_t snapshot_next_ = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_STREAM_CURSOR_H_
