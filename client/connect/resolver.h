#ifndef VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
#define VMEVENTD_CLIENT_CONNECT_RESOLVER_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// The addresses, in digits, of the host of a TCP address, the preferred first; at
// least one. UNAVAILABLE: the host is not known now; the message is the resolver's reason.
using Resolver = std::function<absl::StatusOr<std::vector<std::string>>(const ServerAddress&)>;

// The system's resolver. Blocks as long as the system does.
absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address);

// Runs `resolver` on its own thread, so that a stop need not wait for it: returns CANCELLED once
// `stop` is requested. The thread then runs on until `resolver` returns, and drops the answer;
// everything that `resolver` uses must live until the process ends.
Resolver StoppableResolver(Resolver resolver, std::stop_token stop);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
