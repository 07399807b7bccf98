#include "client/connect/probe_socket.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/connect/host_addresses.h"

namespace vmeventd::client {

UniqueFd NewProbeSocket(int family) {
  constexpr timeval kTimeout = {2, 0};
  UniqueFd made(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made.valid()) return made;
  setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout));
  setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout));
  return made;
}

absl::StatusOr<UniqueFd> ConnectTcp(const ServerAddress& address) {
  const std::string shown = ToText(address);
  const absl::StatusOr<HostAddresses> all = FindHost(address.host, address.port);
  if (!all.ok()) {
    return absl::UnavailableError(absl::StrCat("the host of ", shown, " cannot be resolved (",
                                               all.status().message(),
                                               "): check the name given with --server"));
  }
  int error = 0;
  for (const addrinfo* one = all->get(); one != nullptr; one = one->ai_next) {
    UniqueFd socket = NewProbeSocket(one->ai_family);
    if (socket.valid() && connect(socket.get(), one->ai_addr, one->ai_addrlen) == 0) return socket;
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
  }
  return absl::UnavailableError(absl::StrCat("cannot connect to ", shown, " (", strerror(error),
                                             "): start vmeventd with --listen ", shown,
                                             ", or name its address with --server"));
}

}  // namespace vmeventd::client
