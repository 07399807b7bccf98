#ifndef VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_
#define VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_

#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/connect/tls_finding.h"

// Finds out why TLS with a server fails: gRPC reports only OpenSSL's error numbers. The caller must
// ignore SIGPIPE.

namespace vmeventd::client {

// Does the client's handshake on a connected non-blocking socket, which stays open. Blocks for at
// most `timeout`. `address` must have TLS.
TlsFinding ProbeTls(int socket, const ServerAddress& address, absl::Duration timeout);

// Whether a server that was contacted without TLS speaks it. Blocks likewise.
bool SpeaksTls(int socket, absl::Duration timeout);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_TLS_PROBE_H_
