#pragma once

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// Rules of the contract about events, for the server and for a client that filters the events of a
// fleet itself. FilterLists (base/event_filter.h) has those of the filter. Pure.

namespace vmeventd {

// Returns the earliest time at which the event may have happened: its observe_time, or an earlier
// time if nobody saw when it happened. A list's end_time compares it.
absl::Time EarliestTimeOf(const v1::Event& event);

// Returns whether the filter's types have GAP. A GAP of the whole node passes every filter, but
// only such a filter asks for it.
bool NamesGaps(const v1::EventFilter& filter);

}  // namespace vmeventd
