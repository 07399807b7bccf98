#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"
#include "server/events/event_page.h"

namespace vmeventd {

// Bounds of a page of the events of [start, end). An event counts if any moment from its `since` to
// its observe_time is in there.
struct ListBounds {
  absl::Time start = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();
  int page_size = 100;
  bool newest_first = false;
  uint64_t from = 0;  // sequence to begin at, from a client; 0: the first in this order
};

// A page of the events that pass a filter, collected in turns on the history thread.
class EventListing {
 public:
  // `log` outlives it. A page of several events has at most `max_bytes`. With `count`, the page has
  // no events: `count` is called with each instead.
  using Count = std::function<void(const EventRecord&)>;
  EventListing(const EventLog* log, EventMatcher matcher, const ListBounds& bounds,
               size_t max_bytes, Count count = nullptr)
      : log_(log),
        count_(std::move(count)),
        matcher_(std::move(matcher)),
        bounds_(bounds),
        max_bytes_(max_bytes),
        page_{.clock = &log->clock(), .max_count = static_cast<size_t>(bounds.page_size)},
        next_(bounds.from) {}

  // Searches for some milliseconds, whatever the filter is, and advances by at least one event.
  // Returns whether the page is complete. OUT_OF_RANGE: bounds.from is no longer retained.
  absl::StatusOr<bool> Continue(const absl::StatusOr<JournalReader*>& reader);
  // The events found so far, encoded as `events` fields.
  const std::string& events() const { return page_.encoded; }
  // Sequence at which the next page begins; 0: there is none.
  uint64_t next() const { return next_; }

 private:
  // Adds the event if it passes. False: the turn is over.
  bool Take(const EventRecord& event, bool durable);
  bool IsInTime(const EventRecord& event) const {
    return event.observe_time >= bounds_.start && event.since < bounds_.end;
  }

  const EventLog* const log_;
  const Count count_;
  const EventMatcher matcher_;
  const ListBounds bounds_;
  const size_t max_bytes_;
  EventPage page_;
  uint64_t next_;
  // First and last sequence between which all events of that time are; found in the first turn.
  std::optional<std::pair<uint64_t, uint64_t>> within_;
  int turns_ = 0;
};

}  // namespace vmeventd
