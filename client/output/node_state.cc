#include "client/output/node_state.h"

#include "watcher/core/proto_time.h"

namespace vmeventd::client {

NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now) {
  constexpr int kMissedIntervals = 3;
  if (!node.has_interval()) return NodeState::kStopped;
  const absl::Time due =
      FromTimestamp(node.time()) + kMissedIntervals * FromProtoDuration(node.interval());
  return due < now ? NodeState::kSilent : NodeState::kUp;
}

}  // namespace vmeventd::client
