#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/system.h"
#include "client/connect/server_address.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The exit codes of `vmevents`. Scripts rely on the numbers.
enum class ExitCode {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kNotFound = 3,
  kUnreachable = 4,
  kGone = 5,           // `push`: the receiver answered 410
  kInterrupted = 130,  // `watch --count N`, interrupted before N events arrived
};

// The end of a failed command: the exit code, and one sentence for stderr, safe for a terminal.
struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string sentence;
};

// Returns what a failed call's status contains for programs; empty: vmeventd did not send it, for
// example because gRPC itself failed.
google::rpc::ErrorInfo InfoOf(const grpc::Status& status);
v1::ErrorReason ReasonOf(const grpc::Status& status);

// Explains an RPC's status, which must not be OK. If the server could not be reached or did not
// answer in time, it probes the address for the cause, which takes at most 10 s.
Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status);

// Explains Connect()'s status, which must not be OK.
Failure ExplainNoChannel(const ServerAddress& address, const absl::Status& status);

// The result of probing the address: gRPC's own errors do not distinguish a missing socket from a
// forbidden one.
struct ProbeResult {
  int error = 0;      // an errno (exact only for a Unix socket); 0: a process listens
  std::string why{};  // why nothing answers: a sentence without a full stop
  // The group whose members have the denied permission; empty: only root and the owner have it.
  std::string group{};
  int daemon = 0;  // pid of the vmeventd that listens on a Unix socket; 0: not known
};

// Probes with stat() and connect(), which takes at most 2 s for each address of a host.
ProbeResult Probe(const ServerAddress& address);

// Returns the reason why TLS with a server fails, for which gRPC reports only OpenSSL's error
// numbers: one sentence without a full stop, safe for a terminal; empty: no fault found. Connects
// to the TCP address, with TLS if the address has it. Blocks for at most 6 s. The caller must
// ignore SIGPIPE.
std::string ExplainTlsFault(const ServerAddress& address);

// The --tls options of the address as text to paste, each after a blank; empty: none.
std::string TlsOptionsOf(const ServerAddress& address);

// Connects to a TCP address, within 2 s for each address of its host. Each send and receive of the
// socket also times out after 2 s. UNAVAILABLE, a sentence without a full stop: the host is not
// known, or the last error.
absl::StatusOr<UniqueFd> ConnectTcp(const ServerAddress& address);

}  // namespace vmeventd::client
