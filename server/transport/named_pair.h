#ifndef VMEVENTD_SERVER_TRANSPORT_NAMED_PAIR_H_
#define VMEVENTD_SERVER_TRANSPORT_NAMED_PAIR_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// A pair of sockets between the relay and gRPC's server. Both ends are non-blocking, and hold
// little.
struct NamedPair {
  // The error is of the system, which is out of descriptors or memory.
  static absl::StatusOr<NamedPair> Make();

  UniqueFd relay;
  UniqueFd server;
  // gRPC's name for the peer of `server`, as in ServerContext::peer(): one that no other socket
  // of the host has while `relay` is open.
  std::string name;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_NAMED_PAIR_H_
