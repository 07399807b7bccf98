#pragma once

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// Rules of the contract that the daemon and its client both apply. FilterLists
// (base/event_filter.h) has those of EventFilter. Pure.

namespace vmeventd {

// Types of the events that have a ShutdownDetail.
inline constexpr v1::EventType kTypesWithEnd[] = {v1::EVENT_TYPE_STOPPED,
                                                  v1::EVENT_TYPE_GUEST_SHUTDOWN};
bool HasEnd(v1::EventType type);

// Maximum number of unfollowed sockets that GetServerInfo lists.
inline constexpr int kMaxUnfollowed = 1000;

// Returns the earliest time at which the event may have happened: its observe_time, or an earlier
// time if nobody saw when it happened. A list's end_time compares it.
absl::Time EarliestTimeOf(const v1::Event& event);

// Returns whether the filter's types have GAP. A GAP of the whole node passes every filter, but
// only such a filter asks for it.
bool NamesGaps(const v1::EventFilter& filter);

}  // namespace vmeventd
