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
#include "watcher/core/contract_rules.h"

// Events as lists and watches deliver them, and positions of events. Each event has its node, no
// matter whether one server, several servers or a fleet was asked.

namespace vmeventd::client {

// The node that a message is from.
struct MessageNode {
  std::string name;  // not shown if empty: the message is from the only server that was named
  // Cluster of a fleet's node; empty: the message is from a server that was named.
  std::string cluster;
  std::string journal_id;  // journal of the event, if its source knows it; never shown
  // Set if the VM's state may have changed since, because its node fell silent or stopped while the
  // VM ran: the time of the node's last heartbeat; the infinite past if there was none, or if the
  // node has lost its journal.
  std::optional<absl::Time> stale_since;

  // Returns "CLUSTER/NODE", or the name alone outside of fleets.
  std::string full_name() const {
    return cluster.empty() ? name : absl::StrCat(cluster, "/", name);
  }
  bool operator==(const MessageNode&) const = default;
};

// Position from which a later watch resumes: after `sequence` of that journal, or of a fleet's
// stream.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // When a fleet's message at `sequence` was stored; identifies the stream. The infinite past: not
  // known.
  absl::Time message_time = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// A position in the events of one of the watched servers.
struct ServerPosition {
  size_t server = 0;  // index of the server
  WatchPosition position;
};

struct NodeEvent {
  v1::Event event;
  MessageNode node;
  // Position from which a later watch resumes after this event and all before it are handled. It
  // stays before any event that is not durable. Only a watch sets it.
  ServerPosition resume_after;
};
using NodeEvents = std::vector<NodeEvent>;

// Returns whether a filter's list has the value, or is empty.
template <typename List, typename Value>
bool IsWanted(const List& list, const Value& value) {
  return list.empty() || absl::c_linear_search(list, value);
}

// Returns whether the filter asks for GAPs of the whole node, which pass every filter: an empty one
// asks for all events. Only then they count, and run a command.
inline bool AsksForGaps(const v1::EventFilter& filter) {
  return filter.ByteSizeLong() == 0 || NamesGaps(filter);
}

}  // namespace vmeventd::client
