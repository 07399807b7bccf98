#ifndef VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_
#define VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_

#include <string>

#include "client/connect/server_address.h"
#include "client/connect/tls_finding.h"

// Why a server cannot be reached, in a sentence: gRPC's own words do not distinguish a missing
// socket from a forbidden one.

namespace vmeventd::client {

// What a plain look at the address found.
struct ProbeResult {
  enum class Kind {
    kConnected,      // somebody listens, and may not speak gRPC; `tls` says more where it was asked
    kNoSuchHost,     // `detail` is the resolver's word
    kCannotFind,     // stat() of the Unix socket's path failed with `error`
    kNotASocket,     // there is something else at that path
    kCannotConnect,  // connect() failed with `error`
    kOnlyTls,        // the server speaks TLS, and the client does not
  };
  Kind kind = Kind::kConnected;
  int error = 0;  // an errno
  std::string detail;
  std::string owner;  // with EACCES from connect: "mode 0660, owner root, group vmeventd"
  TlsFinding tls;     // of an address with TLS
};

// Looks: stat() and connect(), and for TCP a TLS handshake, for at most 2 s each. SIGPIPE must be
// ignored.
ProbeResult Probe(const ServerAddress& address);

// One sentence without a full stop. Pure.
std::string ExplainProbe(const ServerAddress& address, const ProbeResult& result);

// Probes a TCP address for a fault that does not pass by itself once the server is back: a
// certificate, or TLS on one side alone. Empty: there is none.
std::string ExplainTlsFault(const ServerAddress& address);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_
