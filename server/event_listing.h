#ifndef VMEVENTD_SERVER_EVENT_LISTING_H_
#define VMEVENTD_SERVER_EVENT_LISTING_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/event_matcher.h"
#include "server/event_store.h"
#include "server/journal_reader.h"
#include "server/request_checks.h"

namespace vmeventd {

// One page of events.
struct EventListing {
  std::string events;  // their encodings, as `events` fields
  uint64_t next = 0;   // where the next page begins; 0: this is the last
};

// Lists what passes `matcher` and `bounds`, beginning at sequence `from` (0: at the end that the
// order begins with): of the ring, and of the journal what is older. A page also ends at
// `max_bytes`, and where the search took long; then it may be empty though another follows.
// OUT_OF_RANGE: `from` is no longer retained. History thread.
absl::StatusOr<EventListing> ListEventsFrom(const EventStore& store, JournalReader* journal,
                                            const EventMatcher& matcher,
                                            const ListEventsBounds& bounds, bool newest_first,
                                            uint64_t from, size_t max_bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_LISTING_H_
