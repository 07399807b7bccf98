#pragma once

#include "absl/algorithm/container.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/event_types.h"

// Questions about a filter.

namespace vmeventd::client {

// Returns whether a filter's list has the value, or is empty.
template <typename List, typename Value>
bool IsWanted(const List& list, const Value& value) {
  return list.empty() || absl::c_linear_search(list, value);
}

// Returns whether the filter asks for GAPs of the whole node, which pass every filter: an empty one
// asks for all events. Only then do they count and run a command.
inline bool AsksForGaps(const v1::EventFilter& filter) {
  return filter.ByteSizeLong() == 0 || NamesGaps(filter);
}

}  // namespace vmeventd::client
