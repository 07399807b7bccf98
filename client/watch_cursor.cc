#include "client/watch_cursor.h"

#include <algorithm>
#include <utility>

#include "client/time_text.h"

namespace vmeventd::client {

WatchCursor::WatchCursor(WatchStart start) : start_(std::move(start)) {
  if (const auto* from = std::get_if<FromSequence>(&start_)) {
    position_ = Position{from->sequence, from->journal_id};
  }
}

bool WatchCursor::AwaitsSnapshot() const {
  return std::holds_alternative<FromSnapshot>(start_) && !position_.has_value();
}

void WatchCursor::FillRequest(v1::WatchEventsRequest* request) const {
  if (position_) {
    request->set_after_sequence(position_->sequence);
    request->set_journal_id(position_->journal_id);
  } else if (const auto* from = std::get_if<FromTime>(&start_)) {
    *request->mutable_since() = ToProto(from->time);
  } else if (std::holds_alternative<FromOldest>(start_)) {
    request->set_from_oldest(true);
  } else if (std::holds_alternative<FromSnapshot>(start_)) {
    request->set_snapshot(true);
  }
}

bool WatchCursor::OnEvent(uint64_t sequence) {
  if (last_event_ && sequence <= *last_event_) return false;
  last_event_ = sequence;
  if (position_) position_->sequence = std::max(position_->sequence, sequence);
  return true;
}

bool WatchCursor::OnProgress(const v1::Progress& progress) {
  // The position of an incomplete snapshot is no position to resume at: the VMs would be lost.
  if (AwaitsSnapshot()) return true;
  if (!position_) {
    // Events that came before the first Progress count as well.
    position_ =
        Position{std::max(progress.sequence(), last_event_.value_or(0)), progress.journal_id()};
    return true;
  }
  if (progress.journal_id() == position_->journal_id) {
    position_->sequence = std::max(position_->sequence, progress.sequence());
    return true;
  }
  position_ = Position{progress.sequence(), progress.journal_id()};
  last_event_.reset();
  return false;
}

void WatchCursor::OnSnapshotDone(const v1::Progress& progress) {
  if (!AwaitsSnapshot()) return;
  position_ = Position{progress.sequence(), progress.journal_id()};
}

bool WatchCursor::OnOutOfRange() {
  const bool gap = position_.has_value() || !std::holds_alternative<FromOldest>(start_);
  start_ = FromOldest{};
  position_.reset();
  last_event_.reset();
  return gap;
}

}  // namespace vmeventd::client
