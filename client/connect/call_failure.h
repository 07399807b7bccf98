#pragma once

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.pb.h"

// The meaning of a call's failure. Any thread.

namespace vmeventd::client {

// Returns what a failed call's status contains for programs; empty: vmeventd did not send it, for
// example because gRPC itself failed.
google::rpc::ErrorInfo InfoOf(const grpc::Status& status);
v1::ErrorReason ReasonOf(const google::rpc::ErrorInfo& info);
v1::ErrorReason ReasonOf(const grpc::Status& status);

// Explains an RPC's status, which must not be OK. If the server could not be reached or did not
// answer in time, it probes the address for the cause, which takes at most 10 s.
Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status);

// Explains Connect()'s status, which must not be OK.
Failure ExplainNoChannel(const ServerAddress& address, const absl::Status& status);

}  // namespace vmeventd::client
