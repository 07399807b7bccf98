#pragma once

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "client/connect/server_address.h"

// Sockets of probes. Each connect, send and receive of one times out after 2 s. Any thread.

namespace vmeventd::client {

// Makes a blocking stream socket of AF_UNIX, AF_INET or AF_INET6. Invalid: no descriptor is left.
UniqueFd NewProbeSocket(int family);

// Connects to a TCP address, within 2 s for each address of its host. UNAVAILABLE, a sentence
// without a full stop: the host is not known, or the last error.
absl::StatusOr<UniqueFd> ConnectTcp(const ServerAddress& address);

}  // namespace vmeventd::client
