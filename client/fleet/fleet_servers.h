#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/nats/connection.h"

namespace vmeventd::client {

// The NATS servers of a fleet, any of which is asked.
struct FleetAddress {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT
  std::string credentials;           // a file; empty: none
  std::string domain;                // JetStream's domain; empty: the servers' own
  std::optional<TlsOptions> tls;
};

// The address as a user writes it, safe for a terminal.
std::string ToText(const FleetAddress& address);

using FleetConnector = std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()>;
// Returns a function that makes a connection with each call; errors as of ConnectNats. Any thread.
FleetConnector ConnectorTo(const FleetAddress& address);

// Explains a failed request to the fleet; `servers` as ToText() has them. Pure.
Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status);

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 0;  // 0: as they are, and 1 of what is made
};

// Makes those of the fleet's stream and its two buckets that are missing; of those that are there,
// turns off what would let a node delete the keys of others, and sets the replicas. Returns a line
// on each, for people. UNAVAILABLE: a server refuses it, or does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

}  // namespace vmeventd::client
