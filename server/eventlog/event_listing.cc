#include "server/eventlog/event_listing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/events/event_codec.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(8);
constexpr int kRowsALook = 64;
// A page ends after this many turns, so it may be empty though another page follows.
constexpr int kMaxTurns = 15;

}  // namespace

bool EventListing::HasTime(uint64_t next) {
  if (log_->clock().Now().monotonic < until_) return true;
  next_ = next;
  complete_ = next == 0;
  return false;
}

bool EventListing::Take(const EventRecord& event, bool durable) {
  if (!IsInTime(event) || !matcher_.Matches(event)) {
    if (++rows_ % kRowsALook != 0) return true;
    return HasTime(bounds_.newest_first ? event.sequence - 1 : event.sequence + 1);
  }
  const size_t before = events_.size();
  AppendEvent(event, &events_);
  if (count_ == bounds_.page_size || (count_ > 0 && events_.size() > max_bytes_)) {
    events_.resize(before);
    next_ = event.sequence;
    return false;
  }
  if (!durable) events_.back() = 0;
  ++count_;
  return true;
}

absl::StatusOr<bool> EventListing::Continue(const absl::StatusOr<JournalReader*>& reader) {
  if (!reader.ok()) return reader.status();
  JournalReader* const journal = *reader;
  const absl::StatusOr<uint64_t> deleted = journal->Deleted();
  if (!deleted.ok()) return deleted.status();
  const bool newest_first = bounds_.newest_first;
  // At one moment, so that what is written meanwhile is in one of the two parts.
  ReadResult memory = log_->ReadUncommitted();
  if (!within_.has_value()) {
    if (next_ != 0 && next_ <= *deleted) {
      return RetentionPassed(
          absl::StrCat("page_token: sequence ", next_, ", where this page begins,"),
          memory.range.oldest);
    }
    const auto within = journal->Within(bounds_.start, bounds_.end);
    if (!within.ok()) return within.status();
    within_ = *within;
    // These may be in the journal by the next turn.
    for (const EventPtr& event : memory.events) {
      if (!IsInTime(*event)) continue;
      within_->first = std::min(within_->first, event->sequence);
      within_->second = std::max(within_->second, event->sequence);
    }
  }
  const uint64_t from =
      next_ == 0 && newest_first ? memory.range.newest : std::max<uint64_t>(next_, 1);
  until_ = log_->clock().Now().monotonic + kTurn;
  next_ = 0;
  complete_ = true;
  bool more = true;
  const auto list_journal = [&] {
    uint64_t first = std::max(within_->first, *deleted + 1);
    uint64_t last = std::min(within_->second, memory.range.committed);
    if (newest_first) {
      last = std::min(last, from);
    } else {
      first = std::max(first, from);
    }
    return journal->Select(
        matcher_, first, last, newest_first,
        [&](const EventRecord& event) { return more = Take(event, /*durable=*/true); },
        [&](uint64_t next) { return more = HasTime(next); });
  };
  // Events that are public and not in the journal yet.
  const auto list_memory = [&] {
    if (newest_first) std::reverse(memory.events.begin(), memory.events.end());
    for (const EventPtr& event : memory.events) {
      if (newest_first ? event->sequence > from : event->sequence < from) continue;
      if (more = Take(*event, /*durable=*/false); !more) return;
    }
  };
  if (newest_first) list_memory();
  const absl::Status status = more ? list_journal() : absl::OkStatus();
  if (!status.ok()) return status;
  if (more && !newest_first) list_memory();
  return complete_ || ++turns_ == kMaxTurns;
}

}  // namespace vmeventd
