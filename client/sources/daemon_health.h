#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/sources/daemon_node.h"
#include "grpc/health/v1/health.pb.h"

// Asks a daemon whether it and its services serve.

namespace vmeventd::client {

// Asks whether the server serves, by gRPC's health checking protocol.
struct HealthCommand {
  std::string service;  // empty: the server as a whole
  absl::Duration timeout = absl::Seconds(5);
  bool all = false;  // asks for the server and for each service
};

// The services that were asked for, each with its answer.
using ServiceStates = std::vector<std::pair<std::string, grpc::health::v1::HealthCheckResponse>>;
std::optional<Failure> ReadHealth(const HealthCommand& command, const DaemonNode& daemon,
                                  ServiceStates* states);

}  // namespace vmeventd::client
