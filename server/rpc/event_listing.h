#ifndef VMEVENTD_SERVER_RPC_EVENT_LISTING_H_
#define VMEVENTD_SERVER_RPC_EVENT_LISTING_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/events/event_matcher.h"
#include "server/events/event_store.h"
#include "server/journal/journal_reader.h"
#include "server/rpc/request_checks.h"

namespace vmeventd {

// What one turn of a listing found.
struct EventListing {
  std::string events;   // their encodings, as `events` fields
  int count = 0;        // of them
  uint64_t next = 0;    // where to go on; 0: there are no more
  bool in_turn = true;  // false: the turn was over before `page_size` or `max_bytes` was reached
};

// Lists what passes `matcher` and `bounds`, beginning at sequence `from` (0: at the end that the
// order begins with): of the ring, and of the journal what is older. A turn is some milliseconds of
// search at the most, whatever the filter, and moves on by one event at least.
// OUT_OF_RANGE: `from` is no longer retained. History thread.
absl::StatusOr<EventListing> ListEventsFrom(const EventStore& store, JournalReader* journal,
                                            const EventMatcher& matcher,
                                            const ListEventsBounds& bounds, bool newest_first,
                                            uint64_t from, size_t max_bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_EVENT_LISTING_H_
