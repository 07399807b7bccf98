#pragma once

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// Starts ssh, which runs `vmevents proxy` on that host, and returns a non-blocking socket to the
// vmeventd there. Closing the socket ends ssh. ssh writes its messages to standard error.
// UNAVAILABLE: ssh cannot be started.
absl::StatusOr<UniqueFd> StartSsh(const ServerAddress& address);

}  // namespace vmeventd::client
