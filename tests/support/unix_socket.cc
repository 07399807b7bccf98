#include "tests/support/unix_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) Fail("too long for a Unix socket: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int NewSocket() {
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) FailErrno("no socket");
  return descriptor;
}

}  // namespace

int ConnectUnix(const std::string& path) {
  const sockaddr_un address = AddressOf(path);
  const int descriptor = NewSocket();
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return descriptor;
  }
  close(descriptor);
  return -1;
}

int ListenUnix(const std::string& path) {
  const sockaddr_un address = AddressOf(path);
  const int descriptor = NewSocket();
  if (bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(descriptor, SOMAXCONN) != 0) {
    FailErrno("listening at " + path);
  }
  return descriptor;
}

}  // namespace vmeventd::e2e
