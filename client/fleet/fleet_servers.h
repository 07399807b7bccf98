#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/nats/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// The NATS servers of a fleet, any of which is asked.
struct FleetAddress {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT
  std::string credentials;           // a file; empty: none
  std::string domain;                // JetStream's domain; empty: the servers' own
  std::optional<TlsOptions> tls;
};

// Returns whether a text of --server means NATS servers.
bool IsFleetText(absl::string_view text);
// The address as a user writes it, safe for a terminal.
std::string ToText(const FleetAddress& address);

using FleetConnector = std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()>;
// Returns a function that makes a connection with each call; errors as of ConnectNats. Any thread.
FleetConnector ConnectorTo(const FleetAddress& address);

// Explains a failed request to the fleet; `servers` as ToText() has them. Pure.
Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status);

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
