#include "server/transport/listen_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/receiving_socket.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "server/host/files.h"
#include "spdlog/spdlog.h"

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
  if (status.ok()) status = CheckNobodyElseReplaces(directory);
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
  bound_ = true;
  if (address_.gid.has_value() &&
      lchown(path.c_str(), static_cast<uid_t>(-1), *address_.gid) != 0) {
    return ErrnoStatus(path, absl::StrCat("cannot be given to the group ", address_.group), errno);
  }
  if (chmod(path.c_str(), address_.mode) != 0) {
    return ErrnoStatus(path, "cannot set the socket's mode", errno);
  }
  WarnOfClosedDirectories();
  RefusePassedDescriptors(fd());  // on each connection that it accepts
  if (listen(fd(), SOMAXCONN) != 0) {
    return ErrnoStatus(address_.ToString(), "cannot be listened on", errno);
  }
  return absl::OkStatus();
}

// A directory above the socket may keep out whom the socket's own mode admits.
void ListenSocket::WarnOfClosedDirectories() const {
  const bool all = (address_.mode & S_IWOTH) != 0;
  if (!all && (!address_.gid.has_value() || (address_.mode & S_IWGRP) == 0)) return;
  for (size_t slash = address_.path.find('/', 1); slash != std::string::npos;
       slash = address_.path.find('/', slash + 1)) {
    const std::string directory = address_.path.substr(0, slash);
    struct stat info {};
    if (stat(directory.c_str(), &info) != 0) return;
    const bool admits_group = !all && info.st_gid == *address_.gid;
    if ((info.st_mode & (admits_group ? S_IXGRP : S_IXOTH)) != 0) continue;
    spdlog::warn(
        "{}: the directory {} (mode {:04o}) does not admit {}; {}", address_.ToString(), directory,
        info.st_mode & 07777U, all ? "everybody" : absl::StrCat("the group ", address_.group),
        all ? absl::StrCat("chmod o+x ", directory)
            : absl::StrCat("chgrp ", address_.group, " ", directory, " && chmod g+x ", directory));
  }
}

absl::Status ListenSocket::OpenTcp() {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const bool is_v4 = inet_pton(AF_INET, address_.host.c_str(), &v4.sin_addr) == 1;
  if (!is_v4) inet_pton(AF_INET6, address_.host.c_str(), &v6.sin6_addr);
  v4.sin_family = AF_INET;
  v4.sin_port = htons(address_.port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(address_.port);
  fd_ = UniqueFd(socket(is_v4 ? AF_INET : AF_INET6, kSocketFlags, 0));
  if (fd() < 0) return ErrnoStatus(address_.ToString(), "cannot make a socket", errno);
  const int one = 1;  // connections of the daemon before this one may linger
  setsockopt(fd(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (!is_v4) {  // whatever net.ipv6.bindv6only is
    const int only = address_.ipv6_only ? 1 : 0;
    setsockopt(fd(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
  }
  int result = is_v4 ? Bind(reinterpret_cast<sockaddr*>(&v4), sizeof(v4))
                     : Bind(reinterpret_cast<sockaddr*>(&v6), sizeof(v6));
  // With SO_REUSEADDR it is listen that finds another listener.
  if (result == 0) result = listen(fd(), SOMAXCONN);
  if (result != 0 && errno == EADDRINUSE) {
    return absl::FailedPreconditionError(
        absl::StrCat(address_.ToString(), ": another process listens on this port"));
  }
  if (result != 0) return ErrnoStatus(address_.ToString(), "cannot be listened on", errno);
  socklen_t size = sizeof(v6);
  if (getsockname(fd(), reinterpret_cast<sockaddr*>(&v6), &size) != 0) {
    return ErrnoStatus(address_.ToString(), "its port cannot be read", errno);
  }
  address_.port = ntohs(v6.sin6_port);  // at the same place in both
  return absl::OkStatus();
}

int ListenSocket::Bind(const sockaddr* name, socklen_t size) const {
  if (bind(fd(), name, size) == 0) return 0;
  if (errno != EADDRNOTAVAIL) return -1;
  spdlog::warn("{}: this host does not have the address; clients can connect once it has",
               address_.ToString());
  const int one = 1;
  const bool is_v4 = name->sa_family == AF_INET;
  setsockopt(fd(), is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_FREEBIND : IPV6_FREEBIND, &one,
             sizeof(one));
  return bind(fd(), name, size);
}

ListenSocket::~ListenSocket() {
  if (bound_) unlink(address_.path.c_str());
}

ListenAttempts::ListenAttempts(std::string what, ListenAddress address)
    : what_(std::move(what)), address_(std::move(address)) {}

const absl::Status& ListenAttempts::Try(absl::Duration now) {
  if (now < due_) return status_;
  absl::StatusOr<std::unique_ptr<ListenSocket>> opened = ListenSocket::Open(address_);
  if (opened.ok()) {
    socket_ = *std::move(opened);
    status_ = absl::OkStatus();
    due_ = absl::InfiniteDuration();
    if (failed_) spdlog::info("{} listens on {} now", what_, address().ToString());
    return status_;
  }
  if (!failed_ || opened.status() != status_) {
    spdlog::error("{} cannot listen on {}: {}; trying again", what_, address_.ToString(),
                  std::string(opened.status().message()));
  }
  failed_ = true;
  status_ = opened.status();
  backoff_ = NextPause(backoff_, kFirstRetry, kMaxRetry);
  due_ = now + backoff_;
  return status_;
}

}  // namespace vmeventd
