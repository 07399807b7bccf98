#include "client/commands/watch_cursor.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

uint64_t Fingerprint(const v1::Event& event) {
  v1::Event copy = event;
  copy.clear_durable();  // the only field of an event that changes
  return absl::HashOf(copy.SerializeAsString());
}

}  // namespace

WatchCursor::WatchCursor(WatchStart start) : start_(std::move(start)) {
  if (const auto* from = std::get_if<FromSequence>(&start_)) {
    position_ = WatchPosition{from->sequence, from->journal_id};
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

void WatchCursor::OnStreamBegin() {
  held_at_.reset();
  durable_after_held_ = false;
}

bool WatchCursor::OnEvent(const v1::Event& event) {
  const uint64_t sequence = event.sequence();
  if (position_ && sequence <= position_->sequence) return false;
  // An event that the position passes at once need not be remembered.
  const bool passes = position_ && event.durable() && !held() && shown_.empty();
  const bool fresh = passes || NoteShown(event);
  last_event_ = std::max(last_event_.value_or(0), sequence);
  if (event.durable()) {
    durable_after_held_ = held();
  } else if (!held()) {
    held_at_ = sequence - 1;
  }
  Move(sequence);
  return fresh;
}

// Returns whether the event has not been shown before.
bool WatchCursor::NoteShown(const v1::Event& event) {
  const uint64_t fingerprint = Fingerprint(event);
  const auto place = std::lower_bound(
      shown_.begin(), shown_.end(), event.sequence(),
      [](const Shown& shown, uint64_t sequence) { return shown.sequence < sequence; });
  if (place == shown_.end() || place->sequence != event.sequence()) {
    shown_.insert(place, Shown{event.sequence(), fingerprint});
    return true;
  }
  return std::exchange(place->fingerprint, fingerprint) != fingerprint;
}

// Moves the position to `sequence`: everything up to it has arrived.
void WatchCursor::Move(uint64_t sequence) {
  if (shown_.size() > kMostHeld) {
    if (held_at_) held_at_ = std::max(*held_at_, shown_.front().sequence);
    shown_.pop_front();
  }
  if (!position_) return;
  if (held_at_) sequence = std::min(sequence, *held_at_);
  if (sequence <= position_->sequence) return;
  position_->sequence = sequence;
  readings_ = 0;
  while (!shown_.empty() && shown_.front().sequence <= sequence) shown_.pop_front();
}

bool WatchCursor::OnProgress(const v1::Progress& progress) {
  // Do not resume at the position of an incomplete snapshot: its remaining VMs would be lost.
  if (AwaitsSnapshot()) return true;
  if (!position_) {
    // Events that arrived before the first Progress count as well.
    position_ = WatchPosition{0, progress.journal_id()};
    Move(std::max(progress.sequence(), last_event_.value_or(0)));
    return true;
  }
  if (progress.journal_id() == position_->journal_id) {
    Move(progress.sequence());
    return true;
  }
  Forget();
  position_ = WatchPosition{progress.sequence(), progress.journal_id()};
  return false;
}

void WatchCursor::OnSnapshotDone(const v1::Progress& progress) {
  if (!AwaitsSnapshot()) return;
  position_ = WatchPosition{0, progress.journal_id()};
  Move(progress.sequence());
}

bool WatchCursor::OnOutOfRange() {
  const bool gap = position_.has_value() || !std::holds_alternative<FromOldest>(start_);
  start_ = FromOldest{};
  position_.reset();
  Forget();
  return gap;
}

void WatchCursor::Forget() {
  last_event_.reset();
  shown_.clear();
  OnStreamBegin();
  readings_ = 0;
}

bool WatchCursor::ReadAgain() {
  if (++readings_ <= kMostReadings) return true;
  OnStreamBegin();
  Move(last_event_.value_or(0));
  return false;
}

}  // namespace vmeventd::client
