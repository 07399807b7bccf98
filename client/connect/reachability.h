#ifndef VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_
#define VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_

#include <string>

#include "client/connect/server_address.h"
#include "client/connect/tls_finding.h"

// Explains in a sentence why a server cannot be reached: gRPC's own errors do not distinguish a
// missing socket from a forbidden one.

namespace vmeventd::client {

// The result of probing the address.
struct ProbeResult {
  enum class Kind {
    kConnected,      // a process listens, perhaps without gRPC; `tls` has the TLS result, if any
    kNoSuchHost,     // `detail` is the resolver's error
    kCannotFind,     // stat() of the Unix socket's path failed with `error`
    kNotASocket,     // another kind of file is at that path
    kCannotConnect,  // connect() failed with `error`
    kOnlyTls,        // the server speaks TLS, and the client does not
  };
  Kind kind = Kind::kConnected;
  int error = 0;  // an errno
  std::string detail;
  std::string owner;  // with EACCES from connect: "mode 0660, owner root, group vmeventd"
  TlsFinding tls;     // of an address with TLS
  int daemon = 0;     // the pid of the vmeventd that listens on a Unix socket; 0: not known
};

// Probes with stat() and connect(), and for TCP a TLS handshake, each for at most 2 s. The caller
// must ignore SIGPIPE.
ProbeResult Probe(const ServerAddress& address);

// Returns one sentence without a full stop. Pure.
std::string ExplainProbe(const ServerAddress& address, const ProbeResult& result);

// Probes a TCP address for a fault that persists when the server is back: a bad certificate, or TLS
// on one side only. Empty: no such fault.
std::string ExplainTlsFault(const ServerAddress& address);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_REACHABILITY_H_
