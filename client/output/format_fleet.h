#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_FLEET_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_FLEET_H_

#include <cstdint>

#include "absl/time/time.h"
#include "vmeventd/v1/fleet.pb.h"

// The state of a fleet's nodes, from their latest heartbeats. Pure.

namespace vmeventd::client {

enum class NodeState {
  kUp,
  kSilent,   // its heartbeat is older than three intervals
  kStopped,  // its daemon stopped in order
};
NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now);
// "up", "silent", "stopped".
const char* StateName(NodeState state);

// How many sequences of its journal are not published yet.
uint64_t LagOf(const v1::NodeHeartbeat& node);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_FLEET_H_
