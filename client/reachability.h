#ifndef VMEVENTD_CLIENT_REACHABILITY_H_
#define VMEVENTD_CLIENT_REACHABILITY_H_

#include <string>

#include "client/server_address.h"

// Why a server cannot be reached, in a sentence: gRPC's own words do not tell a missing socket from
// a forbidden one.

namespace vmeventd::client {

// What a plain look at the address found.
struct ProbeResult {
  enum class Kind {
    kConnected,      // somebody listens, and may not speak gRPC
    kNoSuchHost,     // `detail` is the resolver's word
    kCannotFind,     // stat() of the Unix socket's path failed with `error`
    kNotASocket,     // there is something else at that path
    kCannotConnect,  // connect() failed with `error`
  };
  Kind kind = Kind::kConnected;
  int error = 0;  // an errno
  std::string detail;
  std::string owner;  // with EACCES from connect: "mode 0660, owner root, group vmeventd"
};

// Looks: stat() and connect(), for at most 2 s. Connects and says nothing.
ProbeResult Probe(const ServerAddress& address);

// One sentence without a full stop. Pure.
std::string ExplainProbe(const ServerAddress& address, const ProbeResult& result);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_REACHABILITY_H_
