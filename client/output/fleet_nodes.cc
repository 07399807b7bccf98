#include "client/output/fleet_nodes.h"

#include <algorithm>

#include "client/output/time_text.h"

namespace vmeventd::client {

NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now) {
  constexpr int kMissedIntervals = 3;
  if (!node.has_interval()) return NodeState::kStopped;
  const absl::Time due = FromProto(node.time()) + kMissedIntervals * FromProto(node.interval());
  return due < now ? NodeState::kSilent : NodeState::kUp;
}

const char* StateName(NodeState state) {
  switch (state) {
    case NodeState::kUp:
      return "up";
    case NodeState::kSilent:
      return "silent";
    case NodeState::kStopped:
      return "stopped";
  }
  return "";
}

uint64_t LagOf(const v1::NodeHeartbeat& node) {
  return node.newest_sequence() - std::min(node.newest_sequence(), node.published_sequence());
}

}  // namespace vmeventd::client
