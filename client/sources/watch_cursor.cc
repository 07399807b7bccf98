#include "client/sources/watch_cursor.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "watcher/core/proto_time.h"

namespace vmeventd::client {

WatchCursor::WatchCursor(WatchStart start) : start_(std::move(start)) {
  if (const auto* from = std::get_if<FromSequence>(&start_)) {
    position_ = *from;
    reached_ = from->sequence;
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
    *request->mutable_since() = ToTimestamp(from->time);
  } else if (std::holds_alternative<FromOldest>(start_)) {
    request->set_from_oldest(true);
  } else if (std::holds_alternative<FromSnapshot>(start_)) {
    request->set_snapshot(true);
  }
}

bool WatchCursor::OnEvent(const v1::Event& event) {
  const bool fresh = event.sequence() > reached_;
  // The journal takes events in their order.
  Reach(event.sequence(), event.durable() ? event.sequence() : 0);
  return fresh;
}

bool WatchCursor::OnProgress(const v1::Progress& progress) {
  // Do not resume at the position of an incomplete snapshot: its remaining VMs would be lost.
  if (AwaitsSnapshot()) return true;
  const bool replaced = position_ && progress.journal_id() != position_->journal_id;
  if (replaced) reached_ = 0;
  if (replaced || !position_) position_ = WatchPosition{0, progress.journal_id()};
  Reach(progress.sequence(), progress.durable_sequence());
  return !replaced;
}

void WatchCursor::OnSnapshotDone(const v1::Progress& progress) {
  if (AwaitsSnapshot()) *this = WatchCursor(FromNow{});
  OnProgress(progress);
}

bool WatchCursor::OnOutOfRange(bool damaged) {
  const bool oldest_was_requested = !position_ && std::holds_alternative<FromOldest>(start_);
  *this = WatchCursor(damaged ? WatchStart(FromNow{}) : FromOldest{});
  return damaged || !oldest_was_requested;
}

void WatchCursor::Reach(uint64_t sequence, uint64_t durable) {
  reached_ = std::max(reached_, sequence);
  if (!position_) return;
  position_->sequence = std::max(position_->sequence, std::min(reached_, durable));
}

}  // namespace vmeventd::client
