#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/nats/connection.h"

namespace vmeventd::client {

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 1;
};

// Makes those of the fleet's stream and its two buckets that are missing, and turns off what would
// let a node delete the keys of others. Returns a line on each, for people. UNAVAILABLE: a server
// refuses it, or does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

}  // namespace vmeventd::client
