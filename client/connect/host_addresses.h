#pragma once

#include <netdb.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd::client {

using HostAddresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// Returns the addresses of a host from the system's resolver; at least one. UNAVAILABLE: the host
// cannot be resolved now; the message is the resolver's reason.
absl::StatusOr<HostAddresses> FindHost(const std::string& host, const std::string& port);

}  // namespace vmeventd::client
