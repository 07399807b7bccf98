#include "server/stream/stream_cursor.h"

#include <algorithm>
#include <utility>

#include "server/events/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

// Events between two looks at the clock.
constexpr size_t kEventsALook = 16;

grpc::ByteBuffer ToBuffer(const v1::WatchEventsResponse& response) {
  const grpc::Slice slice(response.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

StreamCursor::StreamCursor(const EventLog* log, const Clock* clock, StreamBegin begin,
                           EventMatcher matcher, bool durable_only, std::string id,
                           absl::Duration interval)
    : log_(log),
      clock_(clock),
      matcher_(std::move(matcher)),
      durable_only_(durable_only),
      id_(std::move(id)),
      sequence_(begin.cursor),
      since_(begin.locate.value_or(absl::InfinitePast())),
      takes_all_(matcher_.matches_all() && since_ == absl::InfinitePast()),
      locates_(begin.locate.has_value()),
      interval_(interval),
      snapshot_(std::move(begin.snapshot)) {}

absl::StatusOr<std::optional<grpc::ByteBuffer>> StreamCursor::Next(bool beat,
                                                                   JournalReader* journal,
                                                                   size_t page_bytes) {
  v1::WatchEventsResponse response;
  sent_ = {};
  more_ = caught_up_ = needs_journal_ = false;
  const absl::Duration now = clock_->Now().monotonic;
  search_until_ = now + kMaxSearch;
  switch (phase_) {
    case Phase::kOpening:
      if (locates_) {
        needs_journal_ = journal == nullptr;
        if (needs_journal_) return std::nullopt;
        const absl::StatusOr<uint64_t> first = journal->Locate(since_);
        if (!first.ok()) return first.status();
        sequence_ = std::max(sequence_, *first - 1);
      }
      phase_ = snapshot_ != nullptr ? Phase::kSnapshot : Phase::kEvents;
      replays_ = sequence_ < Limit(log_->range(), durable_only_);
      // A client that resumed after the snapshot's sequence without all of it would miss the rest.
      *response.mutable_progress() = ProgressAt(snapshot_ != nullptr ? 0 : sequence_);
      response.mutable_progress()->set_stream_id(id_);
      return ToBuffer(response);
    case Phase::kSnapshot:
      if (std::optional<grpc::ByteBuffer> message = SnapshotMessage()) return message;
      if (more_) return std::nullopt;
      snapshot_.reset();
      phase_ = Phase::kEvents;
      *response.mutable_snapshot_done() = ProgressAt(sequence_);
      return ToBuffer(response);
    case Phase::kEvents:
      if (now < progress_due_) break;
      caught_up_ = sequence_ >= Limit(log_->range(), durable_only_);
      *response.mutable_progress() = ProgressAt(sequence_);
      return ToBuffer(response);
  }
  std::vector<grpc::Slice> slices;
  const absl::Status status = Collect(journal, page_bytes, &slices);
  if (!slices.empty()) return grpc::ByteBuffer(slices.data(), slices.size());
  if (!status.ok()) return status;
  const bool replayed = caught_up_ && std::exchange(replays_, false);
  const bool owed = owed_ != 0 && log_->range().durable >= owed_;
  // Pages without a match may follow each other for longer than a client waits for a message.
  const bool beats = beat && (caught_up_ || journal != nullptr);
  if (beats || replayed || owed || !(caught_up_ || needs_journal_)) {
    *response.mutable_progress() = ProgressAt(sequence_);
    return ToBuffer(response);
  }
  return std::nullopt;
}

v1::Progress StreamCursor::ProgressAt(uint64_t sequence) {
  const uint64_t durable = log_->range().durable;
  if (durable >= owed_) owed_ = 0;
  const Instant now = clock_->Now();
  progress_due_ = now.monotonic + interval_;
  v1::Progress progress;
  progress.set_sequence(sequence);
  progress.set_durable_sequence(durable);
  progress.set_journal_id(log_->identity().journal_id);
  progress.set_node_id(log_->identity().node_id);
  *progress.mutable_time() = ToTimestamp(now.wall);
  return progress;
}

std::optional<grpc::ByteBuffer> StreamCursor::SnapshotMessage() {
  std::vector<grpc::Slice> slices;
  size_t bytes = 0;
  const std::vector<VmRecordPtr>& vms = snapshot_->vms;
  for (; snapshot_vm_ < vms.size() && !more_; ++snapshot_vm_) {
    const VmRecord& vm = *vms[snapshot_vm_];
    if (bytes != 0 && bytes + vm.encoded().size() > kMaxMessageBytes) break;
    more_ = snapshot_vm_ % kEventsALook == kEventsALook - 1 && SearchIsOver();
    if (!matcher_.MatchesVm(vm)) continue;
    bytes += vm.encoded().size();
    slices.push_back(vm.slice);
  }
  if (slices.empty()) return std::nullopt;
  more_ = false;
  return grpc::ByteBuffer(slices.data(), slices.size());
}

bool StreamCursor::TakeBlock(const EventBlock& block, uint64_t committed,
                             std::vector<grpc::Slice>* slices) {
  // The sequences before it belong to no event.
  sequence_ = std::max(sequence_, block.first_sequence() - 1);
  if (sequence_ >= block.last_sequence()) return true;
  const size_t begin = sequence_ + 1 - block.first_sequence();
  const size_t events = sent_.events;
  const bool durable = block.last_sequence() <= committed;  // it is written whole or not at all
  const size_t max_bytes = durable ? kMaxMessageBytes : kMaxCopiedBytes;
  size_t end = begin;
  size_t run = begin;  // events [run, end) match and are not taken yet
  const auto take_run = [&] {
    if (run == end) return;
    slices->push_back(durable ? block.Encoded(run, end) : block.EncodedNotDurable(run, end));
    if (!durable) owed_ = block.first_sequence() + end - 1;
  };
  for (; end < block.size(); ++end) {
    if ((end - begin) % kEventsALook == kEventsALook - 1 && SearchIsOver()) break;
    if (!takes_all_ && !Matches(block.at(end))) {
      take_run();
      run = end + 1;
      continue;
    }
    // One event always fits: it may be larger than a message should be.
    const size_t bytes = block.EncodedView(end).size();
    if (sent_.events != 0 && sent_.bytes + bytes > max_bytes) break;
    sent_.bytes += bytes;
    ++sent_.events;
  }
  take_run();
  sequence_ = block.first_sequence() + end - 1;
  if (sent_.events > events && block.published() != absl::ZeroDuration()) {
    sent_.published = std::min(sent_.published, block.published());
  }
  return end == block.size();
}

absl::Status StreamCursor::Collect(JournalReader* journal, size_t page_bytes,
                                   std::vector<grpc::Slice>* slices) {
  while (!SearchIsOver()) {
    const ReadResult read = log_->Read(sequence_ + 1, kMaxMessageBytes);
    if (read.in_journal_through.has_value()) {
      if (!slices->empty()) return absl::OkStatus();
      needs_journal_ = journal == nullptr;
      if (needs_journal_) return absl::OkStatus();
      const absl::StatusOr<JournalPage> page =
          journal->Read(sequence_ + 1, *read.in_journal_through, page_bytes);
      if (!page.ok()) return page.status();
      journal = nullptr;  // others want a page too
      search_until_ = clock_->Now().monotonic + kMaxSearch;
      for (const EventBlockPtr& block : page->blocks) {
        if (!TakeBlock(*block, UINT64_MAX, slices)) return absl::OkStatus();
      }
      sequence_ = std::max(sequence_, page->through);
      continue;
    }
    const uint64_t limit = Limit(read.range, durable_only_);
    if (read.blocks.empty() || read.blocks.front()->last_sequence() > limit) {
      caught_up_ = true;
      return absl::OkStatus();
    }
    for (const EventBlockPtr& block : read.blocks) {
      if (block->last_sequence() > limit) break;
      if (!TakeBlock(*block, read.range.committed, slices)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
