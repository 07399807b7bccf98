#ifndef VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
#define VMEVENTD_CLIENT_CONNECT_RESOLVER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/server_address.h"

namespace vmeventd::client {

// The addresses, in digits, that the host of a TCP address stands for now, the preferred first; at
// least one. UNAVAILABLE: the host is not known now.
using Resolver = std::function<absl::StatusOr<std::vector<std::string>>(const ServerAddress&)>;

// As the system resolves names. Blocks for as long as the system's resolver takes.
absl::StatusOr<std::vector<std::string>> ResolveHost(const ServerAddress& address);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_RESOLVER_H_
