#include "server/stream/stream_cursor.h"

#include <algorithm>
#include <utility>

#include "server/events/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {
namespace {

// Events between two looks at the clock.
constexpr size_t kEventsALook = 16;

grpc::ByteBuffer ToBuffer(const std::string& message) {
  const grpc::Slice slice(message);
  return grpc::ByteBuffer(&slice, 1);
}
grpc::ByteBuffer ToBuffer(const v1::WatchEventsResponse& response) {
  return ToBuffer(response.SerializeAsString());
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
                                                                   size_t max_bytes) {
  v1::WatchEventsResponse response;
  std::string message;
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
      TakeVms(max_bytes, &message);
      if (!message.empty()) return ToBuffer(message);
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
  const absl::Status status = Collect(journal, max_bytes, &message);
  if (!message.empty()) return ToBuffer(message);
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

void StreamCursor::TakeVms(size_t max_bytes, std::string* message) {
  const std::vector<VmRecordPtr>& vms = snapshot_->vms;
  for (; snapshot_vm_ < vms.size() && !more_; ++snapshot_vm_) {
    const VmRecord& vm = *vms[snapshot_vm_];
    if (!message->empty() && message->size() + vm.encoded.size() > max_bytes) break;
    more_ = snapshot_vm_ % kEventsALook == kEventsALook - 1 && SearchIsOver();
    if (!matcher_.MatchesVm(vm)) continue;
    AppendField(v1::WatchEventsResponse::kSnapshotVmsFieldNumber, vm.encoded, message);
  }
  if (!message->empty()) more_ = false;
}

bool StreamCursor::Take(const LoggedEvent& event, bool durable, size_t max_bytes,
                        std::string* message) {
  if (++looked_ % kEventsALook == 0 && SearchIsOver()) return false;
  if (takes_all_ || Matches(event)) {
    // One event always fits: it may be larger than a message should be.
    if (!message->empty() && message->size() + event.field.size() > max_bytes) return false;
    *message += event.field;
    ++sent_.events;
    if (!durable) {
      message->back() = 0;
      owed_ = event.sequence;
    }
    if (event.published != absl::ZeroDuration()) {
      sent_.published = std::min(sent_.published, event.published);
    }
  }
  // The sequences before it belong to no event.
  sequence_ = event.sequence;
  return true;
}

absl::Status StreamCursor::Collect(JournalReader* journal, size_t max_bytes, std::string* message) {
  while (!SearchIsOver()) {
    const ReadResult read = log_->Read(sequence_ + 1, max_bytes);
    if (read.in_journal_through.has_value()) {
      if (!message->empty()) return absl::OkStatus();
      needs_journal_ = journal == nullptr;
      if (needs_journal_) return absl::OkStatus();
      // The last event of a page goes beyond its limit.
      const absl::StatusOr<JournalPage> page =
          journal->Read(sequence_ + 1, *read.in_journal_through, max_bytes - max_bytes / 8);
      if (!page.ok()) return page.status();
      journal = nullptr;  // others want a page too
      search_until_ = clock_->Now().monotonic + kMaxSearch;
      for (const EventPtr& event : page->events) {
        if (!Take(*event, /*durable=*/true, max_bytes, message)) return absl::OkStatus();
      }
      sequence_ = std::max(sequence_, page->through);
      continue;
    }
    const uint64_t limit = Limit(read.range, durable_only_);
    if (read.events.empty() || read.events.front()->sequence > limit) {
      caught_up_ = true;
      return absl::OkStatus();
    }
    for (const EventPtr& event : read.events) {
      if (event->sequence > limit) break;
      const bool durable = event->sequence <= read.range.committed;
      if (!Take(*event, durable, max_bytes, message)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
