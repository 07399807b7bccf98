#ifndef VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_
#define VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/connect/exit_code.h"
#include "client/connect/server_address.h"
#include "grpcpp/support/status.h"

namespace vmeventd::client {

// How a failed command ends: the exit code, and one sentence for stderr, safe for a terminal.
struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string sentence;
};

// Explains an RPC's status, which must not be OK. If the server could not be reached, it probes
// the address for the cause, which takes at most 4 s.
Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status);

// The failure of a host that could not be resolved; `reason` is the resolver's.
Failure ExplainUnknownHost(const ServerAddress& address, const std::string& reason);

// The failure of unusable TLS files, from Connect()'s status.
Failure ExplainBadFiles(const absl::Status& status);

// Whether the same request can succeed later, so that a stream ended with `code` may be retried.
bool IsWorthRetrying(grpc::StatusCode code);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_
