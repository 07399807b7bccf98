#pragma once

#include "absl/algorithm/container.h"
#include "vmeventd/v1/vm_events.pb.h"

// Properties of the types of events, as the contract defines them. Pure.

namespace vmeventd {

// Types of the events that have a ShutdownDetail.
inline constexpr v1::EventType kTypesWithEnd[] = {v1::EVENT_TYPE_STOPPED,
                                                  v1::EVENT_TYPE_GUEST_SHUTDOWN};
inline bool HasEnd(v1::EventType type) { return absl::c_linear_search(kTypesWithEnd, type); }

// Returns whether the filter's types have GAP. A GAP of the whole node passes every filter, but
// only such a filter asks for it.
inline bool NamesGaps(const v1::EventFilter& filter) {
  return absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP);
}

}  // namespace vmeventd
