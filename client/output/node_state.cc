#include "client/output/node_state.h"

#include "client/output/time_text.h"

namespace vmeventd::client {

NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now) {
  constexpr int kMissedIntervals = 3;
  if (!node.has_interval()) return NodeState::kStopped;
  const absl::Time due = FromProto(node.time()) + kMissedIntervals * FromProto(node.interval());
  return due < now ? NodeState::kSilent : NodeState::kUp;
}

}  // namespace vmeventd::client
