#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "vmeventd/v1/fleet.pb.h"

// State of a fleet's node, by its heartbeat. Pure.

namespace vmeventd::client {

// The state of a fleet's node, from its latest heartbeat.
enum class NodeState {
  kUp,
  kSilent,   // the last heartbeat is older than three intervals
  kStopped,  // its push was stopped on purpose: the state of its daemon is not known
};
NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now);

// Number of sequences of the node's journal that are not published yet.
inline uint64_t LagOf(const v1::NodeHeartbeat& node) {
  return node.newest_sequence() - std::min(node.newest_sequence(), node.published_sequence());
}

}  // namespace vmeventd::client
