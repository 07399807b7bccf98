#include "server/stream/stream_cursor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/events/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

// Limit of a matcher's steps for one message; beyond it, the stream reports its progress instead,
// so that a filter that matches nothing holds no thread for long.
constexpr size_t kMaxScanSteps = 500'000;

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

void FillProgress(uint64_t sequence, const JournalIdentity& identity, absl::Time now,
                  v1::Progress* progress) {
  progress->set_sequence(sequence);
  progress->set_journal_id(identity.journal_id);
  progress->set_node_id(identity.node_id);
  *progress->mutable_time() = ToTimestamp(now);
}

}  // namespace

struct StreamCursor::Batch {
  std::vector<grpc::Slice> slices;
  size_t events = 0;
  size_t bytes = 0;
  size_t steps = 0;
};

std::string StreamIdText(uint64_t id) { return absl::StrCat(absl::Hex(id, absl::kZeroPad16)); }

StreamCursor::StreamCursor(const EventLog* log, StreamBegin begin, EventMatcher matcher,
                           uint64_t id)
    : log_(log),
      matcher_(std::move(matcher)),
      id_(id),
      sequence_(begin.cursor),
      locate_(begin.locate),
      since_(begin.since),
      takes_all_(matcher_.matches_all() && since_ == absl::InfinitePast()),
      phase_(locate_.has_value() ? Phase::kLocating : Phase::kOpening),
      identity_(log->identity()),
      snapshot_(std::move(begin.snapshot)) {
  if (begin.blocks.empty()) return;
  const uint64_t through = begin.blocks.back()->last_sequence();
  history_ = std::make_unique<HistoryAnswer>(
      HistoryAnswer{sequence_ + 1, std::move(begin.blocks), through});
}

absl::StatusOr<std::optional<grpc::ByteBuffer>> StreamCursor::Next(absl::Time now, bool beat) {
  sent_ = {};
  more_ = false;
  caught_up_ = false;
  switch (phase_) {
    case Phase::kLocating:
      history_request_ = std::make_unique<HistoryRequest>(HistoryRequest{locate_, 0, 0, ""});
      return std::nullopt;
    case Phase::kOpening:
      phase_ = snapshot_ != nullptr ? Phase::kSnapshot : Phase::kEvents;
      replays_ = !IsAtHead();
      // A client that resumed after the snapshot's sequence without all of it would miss the rest.
      return ProgressMessage(snapshot_ != nullptr ? 0 : sequence_, now, /*is_first=*/true);
    case Phase::kSnapshot:
      if (std::optional<grpc::ByteBuffer> message = SnapshotMessage()) return message;
      if (more_) return std::nullopt;
      snapshot_.reset();
      phase_ = Phase::kSnapshotDone;
      [[fallthrough]];
    case Phase::kSnapshotDone: {
      phase_ = Phase::kEvents;
      v1::WatchEventsResponse response;
      FillProgress(sequence_, *identity_, now, response.mutable_snapshot_done());
      return ToBuffer(response.SerializeAsString());
    }
    case Phase::kEvents:
      break;
  }
  // The next events belong to another journal: to resume, the client needs its id.
  if (log_->identity() != identity_) return ProgressMessage(sequence_, now);
  Batch batch;
  const absl::Status status = Collect(&batch);
  sent_.events = batch.events;
  if (!batch.slices.empty()) return grpc::ByteBuffer(batch.slices.data(), batch.slices.size());
  if (!status.ok()) return status;
  const bool replayed = caught_up_ && std::exchange(replays_, false);
  if (beat || replayed || !(caught_up_ || history_request_ != nullptr)) {
    return ProgressMessage(sequence_, now);
  }
  return std::nullopt;
}

bool StreamCursor::IsAtHead() const {
  const ReadResult read = log_->Read(sequence_ + 1, {.max_bytes = 1});
  return read.blocks.empty() && !read.history.has_value();
}

void StreamCursor::Supply(HistoryAnswer answer) {
  if (phase_ == Phase::kLocating) {
    sequence_ = std::max(sequence_, answer.first - 1);
    phase_ = Phase::kOpening;
  }
  history_ = std::make_unique<HistoryAnswer>(std::move(answer));
}

void StreamCursor::SkipTo(uint64_t sequence) { sequence_ = std::max(sequence_, sequence); }

grpc::ByteBuffer StreamCursor::ProgressMessage(uint64_t sequence, absl::Time now, bool is_first) {
  identity_ = log_->identity();
  v1::WatchEventsResponse response;
  FillProgress(sequence, *identity_, now, response.mutable_progress());
  if (is_first) response.mutable_progress()->set_stream_id(StreamIdText(id_));
  return ToBuffer(response.SerializeAsString());
}

std::optional<grpc::ByteBuffer> StreamCursor::SnapshotMessage() {
  std::vector<grpc::Slice> slices;
  size_t bytes = 0;
  size_t steps = 0;
  bool room = true;
  while (room && !more_ && snapshot_chunk_ < snapshot_->chunks.size()) {
    const SnapshotChunk& chunk = *snapshot_->chunks[snapshot_chunk_];
    size_t i = snapshot_vm_;
    size_t run = i;  // VMs [run, i) match and are not taken yet
    for (; i < chunk.size(); ++i) {
      const VmRecord& vm = *chunk.vms()[i];
      more_ = steps >= kMaxScanSteps;
      room = bytes == 0 || bytes + vm.encoded().size() <= kMaxMessageBytes;
      if (more_ || !room) break;
      if (matcher_.MatchesVm(vm, &steps)) {
        bytes += vm.encoded().size();
      } else {
        if (run < i) slices.push_back(chunk.Encoded(run, i));
        run = i + 1;
      }
    }
    if (run < i) slices.push_back(chunk.Encoded(run, i));
    const bool done = i == chunk.size();
    snapshot_vm_ = done ? 0 : i;
    if (done) ++snapshot_chunk_;
  }
  if (slices.empty()) return std::nullopt;
  return grpc::ByteBuffer(slices.data(), slices.size());
}

bool StreamCursor::TakeBlock(const EventBlock& block, Batch* batch) {
  // Events before it were given up while the journal could not be written.
  sequence_ = std::max(sequence_, block.first_sequence() - 1);
  if (sequence_ >= block.last_sequence()) return true;
  const size_t begin = sequence_ + 1 - block.first_sequence();
  const size_t events = batch->events;
  const size_t end = takes_all_ ? TakeAll(block, begin, batch) : TakeMatching(block, begin, batch);
  sequence_ = block.first_sequence() + end - 1;
  if (batch->events > events && block.published() != absl::ZeroDuration()) {
    sent_.published = std::min(sent_.published, block.published());
  }
  return end == block.size();
}

size_t StreamCursor::TakeAll(const EventBlock& block, size_t begin, Batch* batch) {
  const size_t room = kMaxMessageBytes - std::min(batch->bytes, kMaxMessageBytes);
  size_t end = block.EndWithin(begin, room);
  // One event always fits: it may be larger than a message should be.
  if (batch->bytes == 0) end = std::max(end, begin + 1);
  if (begin == end) return end;
  batch->slices.push_back(block.Encoded(begin, end));
  batch->bytes += batch->slices.back().size();
  batch->events += end - begin;
  return end;
}

size_t StreamCursor::TakeMatching(const EventBlock& block, size_t begin, Batch* batch) const {
  size_t i = begin;
  size_t run = begin;  // events [run, i) match and are not taken yet
  for (; i < block.size(); ++i) {
    const EventBlock::Entry entry = block.at(i);
    if (batch->steps >= kMaxScanSteps) break;
    if (entry.observe_time < since_) ++batch->steps;
    if (entry.observe_time < since_ ||
        !matcher_.Matches(entry, block.EncodedView(i), &batch->steps)) {
      if (run < i) batch->slices.push_back(block.Encoded(run, i));
      run = i + 1;
      continue;
    }
    // One event always fits, as above.
    if (batch->bytes != 0 && batch->bytes + entry.bytes > kMaxMessageBytes) break;
    batch->bytes += entry.bytes;
    ++batch->events;
  }
  if (run < i) batch->slices.push_back(block.Encoded(run, i));
  return i;
}

void StreamCursor::TakeHistory(Batch* batch) {
  while (!history_->blocks.empty()) {
    if (!TakeBlock(*history_->blocks.front(), batch)) return;
    history_->blocks.erase(history_->blocks.begin());
  }
  sequence_ = std::max(sequence_, history_->through);
  history_.reset();
}

absl::Status StreamCursor::Collect(Batch* batch) {
  if (history_ != nullptr) {
    TakeHistory(batch);
    if (history_ != nullptr) return absl::OkStatus();  // the message is full
  }
  while (batch->steps < kMaxScanSteps) {
    ReadResult read = log_->Read(sequence_ + 1, {.max_bytes = kMaxMessageBytes});
    if (read.history.has_value()) {
      if (read.out_of_range) {
        return absl::OutOfRangeError(
            absl::StrCat("sequence ", sequence_ + 1,
                         " is no longer retained, the stream was too slow: the oldest retained "
                         "sequence is ",
                         read.range.oldest));
      }
      if (batch->slices.empty()) {
        history_request_ = std::make_unique<HistoryRequest>(*std::move(read.history));
      }
      return absl::OkStatus();
    }
    if (read.blocks.empty()) {
      caught_up_ = true;
      return absl::OkStatus();
    }
    for (const EventBlockPtr& block : read.blocks) {
      if (!TakeBlock(*block, batch)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
