#include "client/commands/watch_cursor.h"

#include <algorithm>
#include <utility>

#include "client/output/time_text.h"

namespace vmeventd::client {

WatchCursor::WatchCursor(WatchStart start) : start_(std::move(start)) {
  if (const auto* from = std::get_if<FromSequence>(&start_)) {
    position_ = WatchPosition{from->sequence, from->journal_id};
    reached_ = durable_ = shown_ = from->sequence;
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

bool WatchCursor::OnEvent(const v1::Event& event) {
  const uint64_t sequence = event.sequence();
  const bool fresh = sequence > shown_;
  shown_ = std::max(shown_, sequence);
  // The journal takes events in their order.
  Reach(sequence, event.durable() ? sequence : 0);
  return fresh;
}

void WatchCursor::Reach(uint64_t sequence, uint64_t durable) {
  reached_ = std::max(reached_, sequence);
  durable_ = std::max(durable_, durable);
  if (position_) position_->sequence = std::max(position_->sequence, std::min(reached_, durable_));
}

bool WatchCursor::OnProgress(const v1::Progress& progress) {
  // Do not resume at the position of an incomplete snapshot: its remaining VMs would be lost.
  if (AwaitsSnapshot()) return true;
  const bool replaced = position_ && progress.journal_id() != position_->journal_id;
  if (replaced) reached_ = durable_ = shown_ = 0;
  if (replaced || !position_) {
    // Events that arrived before the first Progress count as well.
    position_ = WatchPosition{0, progress.journal_id()};
    shown_ = std::max(shown_, progress.sequence());
  }
  Reach(progress.sequence(), progress.durable_sequence());
  return !replaced;
}

void WatchCursor::OnSnapshotDone(const v1::Progress& progress) {
  if (!AwaitsSnapshot()) return;
  position_ = WatchPosition{0, progress.journal_id()};
  shown_ = progress.sequence();
  Reach(progress.sequence(), progress.durable_sequence());
}

bool WatchCursor::OnOutOfRange() {
  const bool gap = position_.has_value() || !std::holds_alternative<FromOldest>(start_);
  start_ = FromOldest{};
  position_.reset();
  reached_ = durable_ = shown_ = 0;
  return gap;
}

}  // namespace vmeventd::client
