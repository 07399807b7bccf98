#include "client/connect/probe.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/account_names.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "base/unix_address.h"
#include "client/connect/probe_socket.h"
#include "client/output/shell_quote.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// The pid of a vmeventd that listens at the other end of a connected Unix socket.
int DaemonOf(int fd) {
  ucred listener{};
  socklen_t size = sizeof(listener);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0) return 0;
  constexpr size_t kMaxBytes = 64;  // a name has 15
  const auto name = ReadSmallFile(absl::StrCat("/proc/", listener.pid, "/comm"), kMaxBytes);
  return name.ok() && *name == "vmeventd\n" ? listener.pid : 0;
}

std::string OwnerText(const struct stat& info) {
  return absl::StrFormat(" (mode %04o, owner %s, group %s)", info.st_mode & 07777,
                         UserName(info.st_uid), GroupName(info.st_gid));
}

// The length of a path that is too long for a socket's address; empty for a shorter path.
std::string LengthText(const std::string& path) {
  if (path.size() <= UnixAddress::kMaxPath) return "";
  return absl::StrCat(" (its path has ", path.size(), " bytes; a Unix socket's holds ",
                      UnixAddress::kMaxPath,
                      " at most, beyond which only vmeventd and vmevents can go)");
}

// The file's group, if its members have this right; empty: they do not, or it is root's group,
// which nobody should join.
std::string GroupWith(mode_t right, const struct stat& info) {
  return (info.st_mode & right) == 0 || info.st_gid == 0 ? "" : GroupName(info.st_gid);
}

ProbeResult ProbeUnix(const std::string& path) {
  const std::string shown = EscapeForTerminal(path);
  struct stat info {};
  // The directories above it in turn, and then the socket.
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (stat(part.c_str(), &info) != 0) {
      const int error = errno;
      if (error != ENOENT && error != ENOTDIR) {
        return {error, absl::StrCat("cannot examine the socket ", shown, ": ", strerror(error))};
      }
      return {error, absl::StrCat("there is no socket ", shown, LengthText(path),
                                  ": start vmeventd, or name the socket of a running one with "
                                  "--server unix:PATH")};
    }
    if (end != std::string::npos && S_ISDIR(info.st_mode) && access(part.c_str(), X_OK) != 0) {
      return {EACCES,
              absl::StrCat("permission denied on ", EscapeForTerminal(part), " above the socket ",
                           shown, OwnerText(info),
                           ": run vmevents as root or as a member of the directory's group, or "
                           "open the directory to the group of the socket"),
              GroupWith(S_IXGRP, info)};
    }
  }
  if (!S_ISSOCK(info.st_mode)) {
    return {ENOTSOCK, absl::StrCat(shown,
                                   " is not a socket: name vmeventd's socket with --server "
                                   "unix:PATH")};
  }
  const absl::StatusOr<UnixAddress> target = UnixAddress::Open(path);
  const UniqueFd socket = NewProbeSocket(AF_UNIX);
  // stat() has passed the directory, so that only a missing descriptor can be the reason.
  const int error = target.ok() && socket.valid() ? target->Connect(socket.get()) : EMFILE;
  if (error == EACCES || error == EPERM) {
    return {error,
            absl::StrCat("permission denied on the socket ", shown, OwnerText(info),
                         ": run vmevents as its owner or as a member of its group"),
            GroupWith(S_IWGRP, info)};
  }
  if (error == ECONNREFUSED) {
    return {error, absl::StrCat("nobody listens on the socket ", shown,
                                ": vmeventd has ended and left the file behind; start vmeventd")};
  }
  if (error != 0) {
    return {error, absl::StrCat("cannot connect to the socket ", shown, ": ", strerror(error))};
  }
  const int daemon = DaemonOf(socket.get());
  return {0,
          daemon == 0 ? absl::StrCat("another program listens on the socket ", shown,
                                     ", and does not answer as vmeventd does")
                      : absl::StrCat("vmeventd (pid ", daemon, ") listens on the socket ", shown,
                                     " and does not answer: it hangs or is stopped; its log or "
                                     "/proc/",
                                     daemon, "/stack shows where"),
          "", daemon};
}

ProbeResult ProbeTcp(const ServerAddress& address) {
  const absl::StatusOr<UniqueFd> socket = ConnectTcp(address);
  if (!socket.ok()) return {EHOSTUNREACH, std::string(socket.status().message())};
  const std::string shown = ToText(address);
  return {0,
          absl::StrCat(address.tls ? "TLS with " : "", shown,
                       address.tls ? " fails" : " does not answer as vmeventd does, or speaks TLS",
                       ": `vmevents --server ", QuoteForShell(shown), TlsOptionsOf(address),
                       " doctor` shows why")};
}

}  // namespace

ProbeResult Probe(const ServerAddress& address) {
  if (address.is_ssh()) {
    return {EHOSTUNREACH, absl::StrCat("vmeventd at ", ToText(address),
                                       " cannot be reached: ssh, or `vmevents proxy` there, has "
                                       "reported why")};
  }
  return address.is_unix() ? ProbeUnix(address.path) : ProbeTcp(address);
}

}  // namespace vmeventd::client
