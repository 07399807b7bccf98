#include "server/transport/named_pair.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

// In the kernel; it doubles what is asked for, and counts its own overhead.
constexpr int kToServer = 4 << 10;
constexpr int kFromServer = 64 << 10;

// Gives the socket a name of the kernel's choice, and returns it as gRPC writes it.
absl::StatusOr<std::string> BindToUniqueName(int fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof(address.sun_family);  // no name: the kernel takes a free abstract one
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return ErrnoStatus("a connection", "its socket pair cannot be named", errno);
  }
  size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return ErrnoStatus("a connection", "the name of its socket pair cannot be read", errno);
  }
  constexpr size_t kBegin = offsetof(sockaddr_un, sun_path) + 1;  // behind the zero
  return absl::StrCat("unix-abstract:", absl::string_view(address.sun_path + 1, size - kBegin));
}

}  // namespace

absl::StatusOr<NamedPair> NamedPair::Make() {
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return ErrnoStatus("a connection", "no socket pair can be made", errno);
  }
  NamedPair out = {UniqueFd(pair[0]), UniqueFd(pair[1]), ""};
  absl::StatusOr<std::string> name = BindToUniqueName(out.relay.get());
  if (!name.ok()) return name.status();
  out.name = *std::move(name);
  setsockopt(out.relay.get(), SOL_SOCKET, SO_SNDBUF, &kToServer, sizeof(kToServer));
  setsockopt(out.server.get(), SOL_SOCKET, SO_SNDBUF, &kFromServer, sizeof(kFromServer));
  return out;
}

}  // namespace vmeventd
