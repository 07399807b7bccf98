#ifndef VMEVENTD_CLIENT_FLEET_FLEET_BUCKETS_H_
#define VMEVENTD_CLIENT_FLEET_FLEET_BUCKETS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/nats/connection.h"
#include "client/fleet/fleet_events.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_message.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

// The last states that a fleet keeps in its key-value buckets. Errors: NOT_FOUND: there is no such
// bucket; UNAVAILABLE: the servers do not answer, or not for so long as kPatience.

namespace vmeventd::client {

inline constexpr absl::Duration kPatience = absl::Seconds(5);

struct FleetVm {
  v1::Vm vm;
  FleetOrigin origin;
};

// The VMs that the filter lets through, by name and then by node.
absl::StatusOr<std::vector<FleetVm>> ReadFleetVms(NatsConnection* connection,
                                                  const FleetFilter& filter,
                                                  const FleetEventReader::Environment& environment);

// The latest heartbeat of each node that the filter lets through, by cluster and node.
absl::StatusOr<std::vector<v1::NodeHeartbeat>> ReadFleetNodes(
    NatsConnection* connection, const FleetFilter& filter,
    const FleetEventReader::Environment& environment);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_FLEET_FLEET_BUCKETS_H_
