#include "server/eventlog/event_listing.h"

#include <algorithm>

#include "server/events/event_codec.h"
#include "server/events/logged_event.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(8);
// A page ends after this many turns, so it may be empty though another page follows.
constexpr int kMaxTurns = 15;

}  // namespace

EventListing::EventListing(const EventLog* log, v1::ListEventsRequest request, uint64_t from,
                           size_t max_bytes, Count count)
    : log_(log),
      count_(std::move(count)),
      request_(std::move(request)),
      matcher_(request_.filter()),
      start_(request_.has_start_time() ? FromTimestamp(request_.start_time())
                                       : absl::InfinitePast()),
      end_(request_.has_end_time() ? FromTimestamp(request_.end_time()) : absl::InfiniteFuture()),
      max_bytes_(max_bytes),
      page_{.clock = &log->clock(), .max_count = static_cast<size_t>(request_.page_size())},
      next_(from) {}

bool EventListing::Take(const EventRecord& event, bool durable) {
  if (!page_.HasTimeForOne()) return false;
  if (!IsInTime(event) || !matcher_.Matches(event)) return true;
  if (count_ != nullptr) {
    count_(event);
    return true;
  }
  return page_.Add([&event, durable](std::string* out) {
    AppendEvent(event, out);
    if (!durable) out->back() = 0;
  });
}

absl::StatusOr<bool> EventListing::Continue(const absl::StatusOr<JournalReader*>& reader) {
  if (!reader.ok()) return reader.status();
  JournalReader* const journal = *reader;
  const bool newest_first = request_.newest_first();
  // Both parts are read at one moment, so that what is written meanwhile is in one of them.
  ReadResult memory = log_->ReadUncommitted();
  if (!within_.has_value()) {
    const auto within = journal->Within(start_, end_, next_);
    if (!within.ok()) return within.status();
    within_ = *within;
    // The events in memory may be in the journal by the next turn.
    for (const EventPtr& event : memory.events) {
      if (!IsInTime(*event)) continue;
      within_->first = std::min(within_->first, event->sequence);
      within_->second = std::max(within_->second, event->sequence);
    }
  }
  const uint64_t from =
      next_ == 0 && newest_first ? memory.range.newest : std::max<uint64_t>(next_, 1);
  page_.Begin(kTurn, max_bytes_);
  next_ = 0;
  // Events that are public, but not in the journal yet.
  const auto list_memory = [&] {
    if (newest_first) std::reverse(memory.events.begin(), memory.events.end());
    for (const EventPtr& event : memory.events) {
      if (newest_first ? event->sequence > from : event->sequence < from) continue;
      if (Take(*event, /*durable=*/false)) continue;
      next_ = event->sequence;
      return;
    }
  };
  if (newest_first) list_memory();
  if (next_ == 0) {
    uint64_t first = within_->first;
    uint64_t last = std::min(within_->second, memory.range.committed);
    if (newest_first) {
      last = std::min(last, from);
    } else {
      first = std::max(first, from);
    }
    const absl::StatusOr<uint64_t> next = journal->Select(
        matcher_, first, last, newest_first,
        [this](const EventRecord& event) { return Take(event, /*durable=*/true); },
        [this] { return page_.HasTime(); });
    if (!next.ok()) return next.status();
    next_ = *next;
    if (next_ == 0 && !newest_first) list_memory();
  }
  return next_ == 0 || page_.full || ++turns_ == kMaxTurns;
}

}  // namespace vmeventd
