#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/fleet/fleet_filter.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/node_vm.h"
#include "client/sources/fleet_environment.h"
#include "vmeventd/v1/fleet.pb.h"

// Reads a fleet's messages from its stream, and its VMs and heartbeats from its buckets.

namespace vmeventd::client {

// Returns the VMs that pass the filter, sorted by name and then by node. NOT_FOUND: there is no
// such bucket. VMs that ran at the last heartbeat of a silent node are marked as stale.
absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEnvironment& env);

// Returns the latest heartbeat of each node that passes the filter, keyed by cluster and node.
// Errors: see ReadFleetVms().
using FleetNodes = std::map<std::pair<std::string, std::string>, v1::NodeHeartbeat>;
absl::StatusOr<FleetNodes> ReadFleetNodes(NatsConnection* connection, const FleetFilter& filter,
                                          const FleetEnvironment& env);

// Calls `take` with each message of these subjects that the stream has from `start` on, until it
// returns false. Messages that are stored later are not read. UNAVAILABLE: nothing came for 5 s.
absl::Status ReadStored(NatsConnection* connection, const std::string& stream,
                        const std::vector<std::string>& subjects, const ReadStart& start,
                        const FleetEnvironment& env,
                        const std::function<bool(StoredMessage)>& take);

}  // namespace vmeventd::client
