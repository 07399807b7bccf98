#ifndef VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_
#define VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_

#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/connect/tls_finding.h"

// Looks why TLS with a server fails: gRPC has OpenSSL's error numbers alone for it. SIGPIPE must be
// ignored.

namespace vmeventd::client {

// Shakes hands as the client would, on a connected non-blocking socket, which it does not close.
// Blocks at most until `timeout` has passed. `address` has TLS.
TlsFinding ProbeTls(int socket, const ServerAddress& address, absl::Duration timeout);

// Whether a server that was spoken to without TLS speaks it. The same otherwise.
bool SpeaksTls(int socket, absl::Duration timeout);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_
