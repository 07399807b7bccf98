#include "server/listen_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/directories.h"
#include "server/errno_status.h"

namespace vmeventd {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status PrepareUnix(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(path, "cannot be looked at", errno);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": exists and is not a socket; it is left alone"));
  }
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (probe.get() < 0) return ErrnoStatus(path, "cannot make a socket", errno);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int result = connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name));
  if (result == 0 || errno == EAGAIN || errno == EPROTOTYPE) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": another process listens on this socket"));
  }
  if (errno != ECONNREFUSED) return ErrnoStatus(path, "cannot tell who listens there", errno);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(path, "the stale socket cannot be removed", errno);
  }
  return absl::OkStatus();
}

absl::Status PrepareTcp(const ListenAddress& address) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const bool is_v4 = inet_pton(AF_INET, address.host.c_str(), &v4.sin_addr) == 1;
  if (!is_v4) inet_pton(AF_INET6, address.host.c_str(), &v6.sin6_addr);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(address.port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(address.port);
  const Descriptor probe(socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (probe.get() < 0) return ErrnoStatus(address.ToString(), "cannot make a socket", errno);
  const int one = 1;
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));  // as gRPC does
  const int result = is_v4 ? bind(probe.get(), reinterpret_cast<sockaddr*>(&v4), sizeof(v4))
                           : bind(probe.get(), reinterpret_cast<sockaddr*>(&v6), sizeof(v6));
  if (result == 0 && listen(probe.get(), 1) == 0) return absl::OkStatus();
  if (errno == EADDRINUSE) {
    return absl::FailedPreconditionError(
        absl::StrCat(address.ToString(), ": another process listens on this port"));
  }
  return ErrnoStatus(address.ToString(), "cannot be listened on", errno);
}

}  // namespace

absl::Status MakeSocketDirectory(const ListenAddress& address) {
  if (!address.is_unix()) return absl::OkStatus();
  const size_t slash = address.path.rfind('/');
  return MakeOwnDirectory(slash == 0 ? "/" : address.path.substr(0, slash));
}

absl::Status PrepareListenAddress(const ListenAddress& address) {
  return address.is_unix() ? PrepareUnix(address.path) : PrepareTcp(address);
}

}  // namespace vmeventd
