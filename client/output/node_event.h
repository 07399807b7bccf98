#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// Events as lists and watches deliver them: each with its node, whether one server, several or a
// fleet was asked. And positions in them.

namespace vmeventd::client {

// The node that a message is of.
struct MessageNode {
  std::string name;        // empty: it is of the one server that was named, and not shown
  std::string cluster;     // cluster of a fleet; empty: the event is of a server that was named
  std::string journal_id;  // journal of the event, if its source knows it; not shown
  // The last heartbeat of a fleet's node that fell silent or stopped while the VM ran, the infinite
  // past if it has none or has lost its journal: the VM's state may have changed since.
  std::optional<absl::Time> stale_since;

  // Returns "CLUSTER/NODE", or the name alone outside of fleets.
  std::string full_name() const {
    return cluster.empty() ? name : absl::StrCat(cluster, "/", name);
  }
  bool operator==(const MessageNode&) const = default;
};

// Position at which a later watch continues: after `sequence` of that journal, or of that stream of
// a fleet.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // When a fleet's message at `sequence` was stored: the stream is recognised by it. The infinite
  // past: not known.
  absl::Time message_time = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// The position in what one of the watched servers sends.
struct ServerPosition {
  size_t server = 0;  // index of the server
  WatchPosition position;
};

struct NodeEvent {
  v1::Event event;
  MessageNode node;
  // Position from which a later watch resumes once the event and all before it are handled. It
  // stays before an event that is not durable. Only a watch sets it.
  ServerPosition resume_after;
};
using NodeEvents = std::vector<NodeEvent>;

// Returns whether a filter's list has the value, or is empty.
template <typename List, typename Value>
bool IsWanted(const List& list, const Value& value) {
  return list.empty() || absl::c_linear_search(list, value);
}

// Returns whether a GAP of the whole node was asked for, which passes every filter: only then it
// counts, and runs a command.
inline bool AsksForGaps(const v1::EventFilter& filter) {
  return filter.ByteSizeLong() == 0 || absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP);
}

}  // namespace vmeventd::client
