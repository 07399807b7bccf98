#include "tests/support/lingering_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "tests/support/fail.h"

namespace vmeventd::e2e {

LingeringConnection MakeLingering() {
  LingeringConnection made;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  made.listener = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  made.socket = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Small, so that many of them take little memory.
  const int buffer = 4096;
  setsockopt(made.socket.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
  setsockopt(made.listener.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
  const linger hour{1, 3600};
  if (bind(made.listener.get(), any, size) != 0 || listen(made.listener.get(), 1) != 0 ||
      getsockname(made.listener.get(), any, &size) != 0 ||
      connect(made.socket.get(), any, size) != 0 ||
      setsockopt(made.socket.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)) != 0) {
    FailErrno("a connection that lingers");
  }
  made.peer = UniqueFd(accept4(made.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const std::string bytes(1 << 16, 'x');
  while (send(made.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  return made;
}

}  // namespace vmeventd::e2e
