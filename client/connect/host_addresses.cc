#include "client/connect/host_addresses.h"

#include <sys/socket.h>

#include "absl/status/status.h"

namespace vmeventd::client {

absl::StatusOr<HostAddresses> FindHost(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int failure = getaddrinfo(host.c_str(), port.c_str(), &hints, &first);
  if (failure != 0) return absl::UnavailableError(gai_strerror(failure));
  return HostAddresses(first, &freeaddrinfo);
}

}  // namespace vmeventd::client
