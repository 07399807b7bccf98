#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/nats/connection.h"
#include "client/output/invocation.h"

// A fleet on NATS servers: its stream of events, and the buckets with the last states.

namespace vmeventd::client {

// The servers of a fleet as a user writes them, safe for a terminal.
std::string ToText(const NatsOptions& fleet);

// Explains a failed request to the fleet; `servers` as ToText() has them. Pure.
Failure ExplainFleetFailure(const std::string& servers, const Invocation& invocation,
                            const absl::Status& status);

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 0;  // 0: as they are, and 1 of what is made
};

// Maximum age of an event, and of a bucket's value since its last write.
inline constexpr absl::Duration kStreamMaxAge = absl::Hours(24 * 30);

// The request that creates the stream of events, or that of a key-value bucket, which has the last
// value of each key, with the settings that are safe.
std::string CreateRequest(const std::string& stream);

// Makes those of the fleet's stream and its two buckets that are missing; of those that are there,
// turns off what would let a node delete the keys of others, and sets the replicas. Returns a line
// on each, for people. UNAVAILABLE: a server refuses it, or does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

// Longest time by which an event was stored before its own time: the clocks of node and server
// differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

}  // namespace vmeventd::client
