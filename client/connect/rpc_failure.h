#ifndef VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_
#define VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/connect/exit_code.h"
#include "client/connect/server_address.h"
#include "grpcpp/support/status.h"

namespace vmeventd::client {

// How a command ends that could not do its work: one sentence for stderr, safe for a terminal.
struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string sentence;
};

// Turns an RPC's status, which is not OK, into words. Where the server could not be reached it
// looks at the address to say why, which takes at most 4 s.
Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status);

// A host whose name could not be resolved; `reason` is the resolver's.
Failure ExplainUnknownHost(const ServerAddress& address, const std::string& reason);

// What a bad file of a connection means, of Connect().
Failure ExplainBadFiles(const absl::Status& status);

// Whether a stream that ended so may be tried again: the same request can succeed later.
bool IsWorthRetrying(grpc::StatusCode code);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_RPC_FAILURE_H_
