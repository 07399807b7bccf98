#ifndef VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
#define VMEVENTD_CLIENT_CONNECT_RESOLVER_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// The addresses, in digits, that the host of a TCP address stands for now, the preferred first; at
// least one. UNAVAILABLE: the host is not known now; the message is the resolver's reason.
using Resolver = std::function<absl::StatusOr<std::vector<std::string>>(const ServerAddress&)>;

// As the system resolves names. Blocks for as long as the system's resolver takes.
absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address);

// `resolver` on a thread of its own, so that a stop need not wait for it: CANCELLED once `stop` has
// been requested. The thread then goes on until `resolver` returns, and its answer is dropped;
// nothing that `resolver` uses may end before the process.
Resolver StoppableResolver(Resolver resolver, std::stop_token stop);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
