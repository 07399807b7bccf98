#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/output/invocation.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// A daemon to ask. Copies share the connection.
struct DaemonNode {
  // Connects with the first request. With a faulty address or TLS file, each request fails.
  explicit DaemonNode(ServerAddress server, Invocation called = {});
  // Explains why a request failed.
  Failure Explain(const grpc::Status& status) const;

  std::string name;  // shown with its answers; empty: it is the only daemon that is asked
  ServerAddress address;
  Invocation invocation;   // for sentences
  absl::Status connected;  // status of Connect(); the stubs are null if it failed
  std::shared_ptr<v1::VmEventService::StubInterface> stub;
  std::shared_ptr<grpc::health::v1::Health::StubInterface> health;
};

}  // namespace vmeventd::client
