#ifndef VMEVENTD_SERVER_RPC_EVENT_LISTING_H_
#define VMEVENTD_SERVER_RPC_EVENT_LISTING_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/events/event_matcher.h"
#include "server/events/live_state.h"
#include "server/journal/journal_reader.h"
#include "server/rpc/request_checks.h"

namespace vmeventd {

// The result of one turn of a listing.
struct EventListing {
  std::string events;   // encoded, as `events` fields
  int count = 0;        // of events
  uint64_t next = 0;    // where to continue; 0: there are no more
  bool in_turn = true;  // false: the turn ended before `page_size` or `max_bytes` was reached
};

// Where a turn of a listing starts.
struct ListFrom {
  uint64_t sequence = 0;  // 0: where the order begins
  // A client named it, and must learn if retention has passed it. Otherwise the listing continues
  // with what is left.
  bool named = false;
};

// Lists the events that pass `matcher` and `bounds`, starting at `from`: newer ones from the ring,
// older ones from the journal. A turn searches for at most some milliseconds, whatever the filter,
// and advances by at least one event. OUT_OF_RANGE: `from` was named and is no longer retained.
// The read queue's thread.
absl::StatusOr<EventListing> ListEventsFrom(const LiveState& live_state, JournalReader* journal,
                                            const EventMatcher& matcher,
                                            const ListEventsBounds& bounds, bool newest_first,
                                            ListFrom from, size_t max_bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_EVENT_LISTING_H_
