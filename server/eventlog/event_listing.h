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
#include "server/events/event_record.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A page of the events that a request selects, collected in turns on the history thread. An event
// is in the request's times if any moment from its `since` to its observe_time is.
class EventListing {
 public:
  // `log` outlives it. `request` is checked (CheckListEvents); its page_token is not used. `from`
  // is the sequence to begin at, from a client; 0: the first in this order. A page of several
  // events has at most `max_bytes`. With `count`, the page has no events: `count` is called with
  // each instead.
  using Count = std::function<void(const EventRecord&)>;
  EventListing(const EventLog* log, v1::ListEventsRequest request, uint64_t from, size_t max_bytes,
               Count count = nullptr);

  // Searches for some milliseconds, whatever the filter is, and advances by at least one event.
  // Returns whether the page is complete. OUT_OF_RANGE: `from` is no longer retained.
  absl::StatusOr<bool> Continue(const absl::StatusOr<JournalReader*>& reader);
  // The events found so far, encoded as `events` fields.
  const std::string& events() const { return page_.encoded; }
  // Sequence at which the next page begins; 0: there is none.
  uint64_t next() const { return next_; }

 private:
  // Adds the event if it passes. False: the turn is over.
  bool Take(const EventRecord& event, bool durable);
  bool IsInTime(const EventRecord& event) const {
    return event.observe_time >= start_ && event.since < end_;
  }

  const EventLog* const log_;
  const Count count_;
  const v1::ListEventsRequest request_;
  const EventMatcher matcher_;
  const absl::Time start_;
  const absl::Time end_;
  const size_t max_bytes_;
  EventPage page_;
  uint64_t next_;
  // First and last sequence between which all events of that time are; found in the first turn.
  std::optional<std::pair<uint64_t, uint64_t>> within_;
  int turns_ = 0;
};

}  // namespace vmeventd
