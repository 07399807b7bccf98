#include "server/stream_cursor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

// After so many comparisons without a full message the stream reports its progress instead, so that
// a filter that matches nothing holds no thread for long.
constexpr size_t kMaxScanCost = 2'000'000;

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

void FillProgress(uint64_t sequence, const JournalIdentity& identity, absl::Time now,
                  v1::Progress* progress) {
  progress->set_sequence(sequence);
  progress->set_journal_id(identity.journal_id);
  *progress->mutable_time() = ToTimestamp(now);
}

}  // namespace

absl::StatusOr<HistoryAnswer> AnswerFromJournal(JournalReader* reader,
                                                const HistoryRequest& request) {
  HistoryAnswer answer;
  if (request.since.has_value()) {
    const absl::StatusOr<uint64_t> first = reader->FirstSince(*request.since);
    if (!first.ok()) return first.status();
    answer.since_sequence = *first;
    return answer;
  }
  absl::StatusOr<JournalReader::Page> page =
      reader->ReadShared(request.first, request.last, StreamCursor::kHistoryBytes);
  if (!page.ok()) return page.status();
  answer.blocks = std::move(page->blocks);
  answer.through = page->through;
  return answer;
}

struct StreamCursor::Batch {
  std::vector<grpc::Slice> slices;
  size_t bytes = 0;
  size_t scan_cost = 0;
  bool caught_up = false;
};

StreamCursor::StreamCursor(const EventStore* store, StreamBegin begin, EventMatcher matcher,
                           bool snapshot)
    : store_(store),
      matcher_(std::move(matcher)),
      sequence_(begin.cursor),
      since_(begin.since),
      phase_(since_.has_value() ? Phase::kLocating : Phase::kOpening),
      identity_(store->identity()),
      with_snapshot_(snapshot),
      snapshot_(std::move(begin.snapshot)) {}

absl::StatusOr<std::optional<grpc::ByteBuffer>> StreamCursor::Next(absl::Time now, bool beat) {
  sent_ = {};
  switch (phase_) {
    case Phase::kLocating:
      history_request_ = HistoryRequest{since_, 0, 0};
      return std::nullopt;
    case Phase::kOpening:
      phase_ = with_snapshot_ ? Phase::kSnapshot : Phase::kEvents;
      return ProgressMessage(now);
    case Phase::kSnapshot:
      if (snapshot_next_ < snapshot_.size()) return SnapshotMessage();
      snapshot_ = {};
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
  // What comes from here on belongs to another journal: to resume the client needs its id.
  if (store_->identity() != identity_) return ProgressMessage(now);
  Batch batch;
  const absl::Status status = Collect(&batch);
  if (!batch.slices.empty()) return grpc::ByteBuffer(batch.slices.data(), batch.slices.size());
  if (!status.ok()) return status;
  if (beat || !(batch.caught_up || history_request_.has_value())) return ProgressMessage(now);
  return std::nullopt;
}

void StreamCursor::Supply(HistoryAnswer answer) {
  if (phase_ != Phase::kLocating) {
    history_ = std::move(answer);
    return;
  }
  // What the journal does not hold yet may be in the ring.
  sequence_ =
      (answer.since_sequence == 0 ? store_->FirstInRingSince(*since_) : answer.since_sequence) - 1;
  phase_ = Phase::kOpening;
}

grpc::ByteBuffer StreamCursor::ProgressMessage(absl::Time now) {
  identity_ = store_->identity();
  v1::WatchEventsResponse response;
  FillProgress(sequence_, *identity_, now, response.mutable_progress());
  return ToBuffer(response.SerializeAsString());
}

grpc::ByteBuffer StreamCursor::SnapshotMessage() {
  std::string bytes;
  do {
    bytes += snapshot_[snapshot_next_]->encoded();
    snapshot_[snapshot_next_++].reset();
  } while (snapshot_next_ < snapshot_.size() &&
           bytes.size() + snapshot_[snapshot_next_]->encoded().size() <= kMaxMessageBytes);
  return ToBuffer(bytes);
}

bool StreamCursor::TakeBlock(const EventBlock& block, Batch* batch) {
  size_t i = sequence_ + 1 - block.first_sequence();
  size_t run = i;  // events [run, i) match and are not taken yet
  bool room = true;
  size_t matched = 0;
  for (; i < block.size(); ++i) {
    const EventBlock::Entry entry = block.at(i);
    batch->scan_cost += matcher_.names().cost();
    if (!matcher_.Matches(entry)) {
      if (run < i) batch->slices.push_back(block.Encoded(run, i));
      run = i + 1;
      continue;
    }
    // One event always fits: it may be larger than a message should be.
    room = batch->bytes == 0 || batch->bytes + entry.bytes <= kMaxMessageBytes;
    if (!room) break;
    batch->bytes += entry.bytes;
    ++matched;
  }
  if (run < i) batch->slices.push_back(block.Encoded(run, i));
  sequence_ = block.first_sequence() + i - 1;
  sent_.events += matched;
  if (matched > 0 && block.published() != absl::ZeroDuration()) {
    sent_.published = std::min(sent_.published, block.published());
  }
  return room;
}

void StreamCursor::TakeHistory(Batch* batch) {
  while (!history_->blocks.empty()) {
    const EventBlock& block = *history_->blocks.front();
    // What is missing before it was given up while the disk was full, and a GAP follows.
    sequence_ = std::max(sequence_, block.first_sequence() - 1);
    if (!TakeBlock(block, batch)) return;
    history_->blocks.erase(history_->blocks.begin());
  }
  sequence_ = std::max(sequence_, history_->through);
  history_.reset();
}

absl::Status StreamCursor::Collect(Batch* batch) {
  if (history_.has_value()) {
    TakeHistory(batch);
    if (!batch->slices.empty()) return absl::OkStatus();
  }
  while (batch->scan_cost < kMaxScanCost) {
    const EventStore::Page page = store_->ReadFrom(sequence_ + 1, kMaxMessageBytes);
    if (sequence_ + 1 < page.ring_oldest) {
      if (sequence_ + 1 < page.range.oldest) {
        return absl::OutOfRangeError(
            absl::StrCat("sequence ", sequence_ + 1,
                         " is no longer retained, the stream was too slow: the oldest retained "
                         "sequence is ",
                         page.range.oldest));
      }
      if (batch->slices.empty()) {
        history_request_ = HistoryRequest{std::nullopt, sequence_ + 1, page.ring_oldest - 1};
      }
      return absl::OkStatus();
    }
    if (page.blocks.empty()) {
      batch->caught_up = true;
      return absl::OkStatus();
    }
    for (const EventBlockPtr& block : page.blocks) {
      if (!TakeBlock(*block, batch)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
