#include "server/transport/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/passed_descriptors.h"
#include "base/unique_fd.h"
#include "base/unix_address.h"
#include "server/host/lock_file.h"
#include "server/host/own_directory.h"

namespace vmeventd {
namespace {

constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

// Removes a socket that nobody listens on.
absl::Status RemoveStale(const std::string& path, const UnixAddress& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(path, "cannot be examined", errno);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": exists and is not a socket; move it away, or listen at another path"));
  }
  const UniqueFd probe(socket(AF_UNIX, kSocketFlags, 0));
  if (probe.get() < 0) return ErrnoStatus(path, "cannot make a socket", errno);
  const int error = address.Connect(probe.get());
  if (error == 0 || error == EAGAIN || error == EPROTOTYPE) {
    return absl::AlreadyExistsError(absl::StrCat(path, ": another process listens on this socket"));
  }
  if (error != ECONNREFUSED) return ErrnoStatus(path, "cannot be checked for a listener", error);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(path, "the stale socket cannot be removed", errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ListenSocket>> ListenSocket::Open(const ListenAddress& address) {
  std::unique_ptr<ListenSocket> out(new ListenSocket(address));
  absl::Status status = address.is_unix() ? out->OpenUnix() : out->OpenTcp();
  if (!status.ok()) return status;
  return out;
}

absl::Status ListenSocket::OpenUnix() {
  const std::string& path = address_.path;
  const size_t slash = path.rfind('/');
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  absl::Status status = MakeOwnDirectory(directory, address_.gid);
  if (status.ok()) status = CheckOwner(directory, /*others_files=*/true);
  if (!status.ok()) return status;
  absl::StatusOr<UniqueFd> lock = LockFile(path + ".lock");
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  if (!address.ok()) return address.status();
  if (status = RemoveStale(path, *address); !status.ok()) return status;

  fd_ = UniqueFd(socket(AF_UNIX, kSocketFlags, 0));
  if (fd() < 0) return ErrnoStatus(path, "cannot make a socket", errno);
  // The path is made with the mode of the socket's own inode, less the umask (unix(7)): so it is
  // never open to more, and the chmod below gives what the umask took.
  const int error = fchmod(fd(), address_.mode) == 0 ? address->Bind(fd()) : errno;
  if (error != 0) return ErrnoStatus(path, "cannot be bound", error);
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  file_.emplace(info.st_dev, info.st_ino);
  if (address_.gid.has_value() &&
      lchown(path.c_str(), static_cast<uid_t>(-1), *address_.gid) != 0) {
    return ErrnoStatus(path, absl::StrCat("cannot be given to the group ", address_.group), errno);
  }
  if (chmod(path.c_str(), address_.mode) != 0) {
    return ErrnoStatus(path, "cannot set the socket's mode", errno);
  }
  RefusePassedDescriptors(fd());  // on each connection that it accepts
  if (listen(fd(), SOMAXCONN) != 0) {
    return ErrnoStatus(address_.ToString(), "cannot be listened on", errno);
  }
  return absl::OkStatus();
}

absl::Status ListenSocket::OpenTcp() {
  const std::string text = address_.ToString();
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error =
          getaddrinfo(address_.host.c_str(), absl::StrCat(address_.port).c_str(), &hints, &found);
      error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(text, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> address(found, freeaddrinfo);
  fd_ = UniqueFd(socket(address->ai_family, kSocketFlags, 0));
  if (fd() < 0) return ErrnoStatus(text, "cannot make a socket", errno);
  const int one = 1;  // connections of the previous daemon may linger
  setsockopt(fd(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  // Overrides net.ipv6.bindv6only; fails on an IPv4 socket, which does not matter.
  const int only = address_.ipv6_only ? 1 : 0;
  setsockopt(fd(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
  // With SO_REUSEADDR not bind but listen fails if there is another listener.
  if (bind(fd(), address->ai_addr, address->ai_addrlen) != 0 || listen(fd(), SOMAXCONN) != 0) {
    if (errno != EADDRINUSE) return ErrnoStatus(text, "cannot be listened on", errno);
    return absl::FailedPreconditionError(
        absl::StrCat(text, ": another process listens on this port"));
  }
  sockaddr_in6 own{};
  socklen_t size = sizeof(own);
  if (getsockname(fd(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return ErrnoStatus(text, "its port cannot be read", errno);
  }
  address_.port = ntohs(own.sin6_port);  // at the same place in an address of IPv4
  return absl::OkStatus();
}

bool LeadsTo(const std::string& path, const std::optional<std::pair<dev_t, ino_t>>& file) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0 && file == std::pair(info.st_dev, info.st_ino);
}

bool ListenSocket::Reachable() const {
  return !address_.is_unix() || LeadsTo(address_.path, file_);
}

ListenSocket::~ListenSocket() {
  if (file_.has_value() && Reachable()) unlink(address_.path.c_str());
}

}  // namespace vmeventd
