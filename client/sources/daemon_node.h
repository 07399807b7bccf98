#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/output/invocation.h"
#include "client/output/output.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

// A daemon to ask, and requests to many daemons at once.

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

// Calls `ask` with each number below `count`, on up to `at_once` threads at the same time. Returns
// when all calls have returned.
inline constexpr size_t kAskedAtOnce = 64;
void AskAll(size_t count, const std::function<void(size_t)>& ask, size_t at_once = kAskedAtOnce);

// Returns the first failure of an unreachable node, or else the first failure. Reports all others
// to `note`.
std::optional<Failure> ReportFailures(const std::vector<std::optional<Failure>>& failures,
                                      const PrintSentence& note);

}  // namespace vmeventd::client
