#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"

// Makes a fleet's stream of events, and the buckets with the last states.

namespace vmeventd::client {

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 0;  // 0: unchanged for existing streams, 1 for new ones
};

// Maximum age of an event, and of a bucket's value since its last write.
inline constexpr absl::Duration kStreamMaxAge = absl::Hours(24 * 30);

// The request that creates, with safe settings, the stream of events or the stream of a key-value
// bucket, which stores the last value of each key.
std::string CreateRequest(const std::string& stream);

// Creates the fleet's stream and its two buckets if they are missing. On existing ones, turns off
// the settings that would let a node delete the keys of others, and sets the number of replicas.
// Returns one line on each, for people. FAILED_PRECONDITION: a server refuses it; UNAVAILABLE: it
// does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

}  // namespace vmeventd::client
