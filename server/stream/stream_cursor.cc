#include "server/stream/stream_cursor.h"

#include <algorithm>
#include <utility>

#include "server/events/event_codec.h"
#include "server/events/logged_event.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {

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
      snapshot_(std::move(begin.snapshot)),
      with_stopped_(begin.with_stopped),
      page_{.clock = clock} {}

StreamCursor::Step StreamCursor::Next(size_t max_bytes) {
  Step step;
  v1::WatchEventsResponse response;
  const bool has_read = std::exchange(has_read_, false);
  page_.Begin(kMaxSearch, max_bytes);
  switch (phase_) {
    case Phase::kOpening:
      if (locates_) {
        step.follows = Follows::kReading;
        return step;
      }
      phase_ = snapshot_ != nullptr ? Phase::kSnapshot : Phase::kEvents;
      replays_ = sequence_ < Limit(log_->range(), durable_only_);
      // A client that resumed after the snapshot's sequence without all of it would miss the rest.
      *response.mutable_progress() = ProgressAt(snapshot_ != nullptr ? 0 : sequence_);
      response.mutable_progress()->set_stream_id(id_);
      break;
    case Phase::kSnapshot:
      if (!TakeVms() || page_.count > 0) {
        step.message = page_.Take();
        return step;
      }
      snapshot_.reset();
      phase_ = Phase::kEvents;
      *response.mutable_snapshot_done() = ProgressAt(sequence_);
      break;
    case Phase::kEvents:
      if (clock_->Now().monotonic < progress_due_ || page_.count > 0) {
        TakeEvents(&step);
        const bool caught_up = step.follows == Follows::kPublication;
        const bool wanted = progress_wanted_ || replays_;
        const bool confirmation_due = unconfirmed_ != 0 && log_->range().durable >= unconfirmed_;
        if (page_.count > 0) {
          if (caught_up && (wanted || confirmation_due)) step.follows = Follows::kMore;
          step.events = page_.count;
          step.message = page_.Take();
          return step;
        }
        // Pages without a match may follow each other for longer than a client waits for a message.
        const bool due = caught_up ? wanted : progress_wanted_ && has_read;
        if (!due && !confirmation_due && step.follows != Follows::kMore) return step;
      } else if (sequence_ >= Limit(log_->range(), durable_only_)) {
        step.follows = Follows::kPublication;
      }
      if (step.follows == Follows::kPublication) progress_wanted_ = replays_ = false;
      *response.mutable_progress() = ProgressAt(sequence_);
  }
  step.message = response.SerializeAsString();
  return step;
}

absl::Status StreamCursor::ReadJournal(JournalReader* journal, size_t max_bytes) {
  if (std::exchange(locates_, false)) {
    const absl::StatusOr<uint64_t> first = journal->Locate(since_);
    if (first.ok()) sequence_ = std::max(sequence_, *first - 1);
    return first.status();
  }
  page_.Begin(kMaxSearch, max_bytes);
  const absl::StatusOr<uint64_t> through = journal->Read(
      sequence_ + 1, journal_through_, [this](const EventRecord& event) { return Matches(event); },
      &page_);
  if (through.ok()) sequence_ = std::max(sequence_, *through);
  has_read_ = true;
  return through.status();
}

v1::Progress StreamCursor::ProgressAt(uint64_t sequence) {
  const uint64_t durable = log_->range().durable;
  if (durable >= unconfirmed_) unconfirmed_ = 0;
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

bool StreamCursor::TakeVms() {
  for (; snapshot_vm_ < snapshot_->vms.size(); ++snapshot_vm_) {
    if (!page_.HasTimeForOne()) return false;
    const VmRecord& vm = *snapshot_->vms[snapshot_vm_];
    if ((vm.stopped() && !with_stopped_) || !matcher_.MatchesVm(vm)) continue;
    const auto append = [&vm](std::string* out) {
      AppendField(v1::WatchEventsResponse::kSnapshotVmsFieldNumber, vm.encoded, out);
    };
    if (!page_.Add(append)) break;
  }
  return true;
}

void StreamCursor::TakeEvents(Step* step) {
  while (page_.HasTime()) {
    const ReadResult read = log_->Read(sequence_ + 1, page_.max_bytes);
    if (read.in_journal_through.has_value()) {
      journal_through_ = *read.in_journal_through;
      step->follows = Follows::kReading;
      return;
    }
    const uint64_t limit = Limit(read.range, durable_only_);
    if (read.events.empty() || read.events.front()->sequence > limit) {
      step->follows = Follows::kPublication;
      return;
    }
    for (const EventPtr& event : read.events) {
      if (event->sequence > limit) break;
      if (!page_.HasTimeForOne()) return;
      if (Matches(*event)) {
        const bool durable = event->sequence <= read.range.committed;
        const auto append = [&](std::string* out) {
          *out += event->field;
          if (!durable) out->back() = 0;
        };
        if (!page_.Add(append)) return;
        if (!durable) unconfirmed_ = event->sequence;
        if (event->published != absl::ZeroDuration()) {
          step->published = std::min(step->published, event->published);
        }
      }
      // The sequences before it belong to no event.
      sequence_ = event->sequence;
    }
  }
}

}  // namespace vmeventd
