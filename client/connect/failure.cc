#include "client/connect/failure.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "client/connect/connection.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

Failure ExplainUnavailable(const ServerAddress& address, const std::string& message) {
  const ProbeResult probe = Probe(address);
  // gRPC's error for a server that accepts the connection and does not speak HTTP/2.
  const bool no_answer = absl::StrContains(message, "failed to connect to all addresses");
  if (no_answer || probe.kind != ProbeResult::Kind::kConnected) {
    return {ExitCode::kUnreachable, ExplainProbe(address, probe)};
  }
  return {ExitCode::kUnreachable, absl::StrCat("vmeventd at ", ToText(address),
                                               " is not available now (", message, "): try again")};
}

}  // namespace

Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status) {
  const std::string where = ToText(address);
  const std::string message = EscapeForTerminal(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return ExplainUnavailable(address, message);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (const ProbeResult probe = Probe(address); probe.daemon != 0) {
        return {ExitCode::kUnreachable, ExplainProbe(address, probe)};
      }
      return {ExitCode::kUnreachable,
              absl::StrCat("vmeventd at ", where, " did not answer in time: try again")};
    case grpc::StatusCode::NOT_FOUND:
      return {ExitCode::kNotFound, message};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {ExitCode::kUsage,
              absl::StrCat("vmeventd at ", where, " does not accept the request: ", message)};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {
          ExitCode::kFailed,
          absl::StrCat("the server at ", where,
                       " does not support this request: it is not vmeventd, or an older version")};
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      // vmeventd's message says who may call and how to get the right.
      return {
          ExitCode::kFailed,
          absl::StrCat("vmeventd at ", where, " does not permit this: ", message,
                       absl::StrContains(message, "operator")
                           ? ""
                           : "; it requires an operator, as set by --listen with role=operator or "
                             "--tls-operator of vmeventd")};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {
          ExitCode::kFailed,
          absl::StrCat("vmeventd at ", where, " is at one of its limits (", message,
                       "): try again later, or raise --max-streams of vmeventd if streams are too "
                       "many")};
    default:
      return {ExitCode::kFailed,
              absl::StrCat("vmeventd at ", where, " could not do this: ", message)};
  }
}

Failure ExplainNoChannel(const ServerAddress& address, const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsUnavailable(status)) return ExplainUnavailable(address, EscapeForTerminal(message));
  return {ExitCode::kFailed, message};
}

Failure ExplainUnknownHost(const ServerAddress& address, const std::string& reason) {
  ProbeResult result;
  result.kind = ProbeResult::Kind::kNoSuchHost;
  result.detail = reason;
  return {ExitCode::kUnreachable, ExplainProbe(address, result)};
}

bool IsWorthRetrying(grpc::StatusCode code) {
  static constexpr grpc::StatusCode kFinal[] = {
      grpc::StatusCode::INVALID_ARGUMENT,  grpc::StatusCode::NOT_FOUND,
      grpc::StatusCode::PERMISSION_DENIED, grpc::StatusCode::UNAUTHENTICATED,
      grpc::StatusCode::UNIMPLEMENTED,     grpc::StatusCode::FAILED_PRECONDITION};
  return !absl::c_linear_search(kFinal, code);
}

namespace {

constexpr int kProbeTimeoutMs = 2000;

UniqueFd NewSocket(int family) {
  return UniqueFd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// The errno of connect(); 0: connected.
int TryConnect(int fd, const sockaddr* address, socklen_t size) {
  if (fd < 0) return errno;
  int error = connect(fd, address, size) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd waiting = {fd, POLLOUT, 0};
    socklen_t length = sizeof(error);
    if (poll(&waiting, 1, kProbeTimeoutMs) <= 0) {
      error = ETIMEDOUT;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
      error = errno;
    }
  }
  return error;
}

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
  return absl::StrFormat("mode %04o, owner %s, group %s", info.st_mode & 07777,
                         UserName(info.st_uid), GroupName(info.st_gid));
}

// The group whose members have this right of the group; that of root is for no user.
std::string GroupWith(mode_t right, const struct stat& info) {
  return (info.st_mode & right) == 0 || info.st_gid == 0 ? "" : GroupName(info.st_gid);
}

// Names the directory above `path` that may not be passed.
void FindClosedDirectory(const std::string& path, ProbeResult* result) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string directory = path.substr(0, slash);
    struct stat info {};
    if (stat(directory.c_str(), &info) != 0) return;
    if (access(directory.c_str(), X_OK) == 0) continue;
    result->detail = directory;
    result->owner = OwnerText(info);
    result->group = GroupWith(S_IXGRP, info);
    return;
  }
}

ProbeResult ProbeUnix(const ServerAddress& address) {
  ProbeResult result;
  struct stat info {};
  if (stat(address.path.c_str(), &info) != 0) {
    result.kind = ProbeResult::Kind::kCannotFind;
    result.error = errno;
    if (result.error == EACCES) FindClosedDirectory(address.path, &result);
    return result;
  }
  if (!S_ISSOCK(info.st_mode)) {
    result.kind = ProbeResult::Kind::kNotASocket;
    return result;
  }
  const absl::StatusOr<UnixAddress> target = UnixAddress::Open(address.path);
  const UniqueFd socket = NewSocket(AF_UNIX);
  // stat() has passed the directory, so that only a missing descriptor can be the reason.
  result.error = target.ok() && socket.valid() ? target->Connect(socket.get()) : EMFILE;
  if (result.error != 0) result.kind = ProbeResult::Kind::kCannotConnect;
  if (result.error == 0) result.daemon = DaemonOf(socket.get());
  result.owner = OwnerText(info);
  if (result.error == EACCES) result.group = GroupWith(S_IWGRP, info);
  return result;
}

UniqueFd ConnectToAny(const addrinfo* first, int* error) {
  for (const addrinfo* one = first; one != nullptr; one = one->ai_next) {
    UniqueFd socket = NewSocket(one->ai_family);
    *error = TryConnect(socket.get(), one->ai_addr, one->ai_addrlen);
    if (*error == 0) return socket;
  }
  return UniqueFd();
}

ProbeResult ProbeTcp(const ServerAddress& address) {
  ProbeResult result;
  const std::string& host = address.numeric.empty() ? address.host : address.numeric;
  const absl::StatusOr<HostAddresses> all = FindHost(host, address.port);
  if (!all.ok()) {
    result.kind = ProbeResult::Kind::kNoSuchHost;
    result.detail = std::string(all.status().message());
    return result;
  }
  const UniqueFd socket = ConnectToAny(all->get(), &result.error);
  if (result.error != 0) result.kind = ProbeResult::Kind::kCannotConnect;
  return result;
}

// The address as the user can paste it.
std::string WithoutNumeric(ServerAddress address) {
  address.numeric.clear();
  return ToText(address);
}

std::string ExplainUnixConnect(const std::string& path, const ProbeResult& result) {
  switch (result.error) {
    case EACCES:
    case EPERM:
      return absl::StrCat("permission denied on the socket ", path, " (", result.owner,
                          "): run vmevents as its owner or as a member of its group");
    case ECONNREFUSED:
      return absl::StrCat("nobody listens on the socket ", path,
                          ": vmeventd has ended and left the file behind; start vmeventd");
    default:
      return absl::StrCat("cannot connect to the socket ", path, ": ", strerror(result.error));
  }
}

std::string ExplainUnix(const ServerAddress& address, const ProbeResult& result) {
  const std::string path = EscapeForTerminal(address.path);
  switch (result.kind) {
    case ProbeResult::Kind::kCannotFind:
      if (result.error == ENOENT || result.error == ENOTDIR) {
        return absl::StrCat("there is no socket ", path,
                            ": start vmeventd, or name the socket of a running one with "
                            "--server unix:PATH");
      }
      if (result.error == EACCES) {
        return absl::StrCat("permission denied on ", result.detail.empty() ? "a directory" : "",
                            EscapeForTerminal(result.detail), " above the socket ", path,
                            result.owner.empty() ? "" : absl::StrCat(" (", result.owner, ")"),
                            ": run vmevents as root or as a member of the directory's group, or "
                            "open the directory to the group of the socket");
      }
      return absl::StrCat("cannot examine the socket ", path, ": ", strerror(result.error));
    case ProbeResult::Kind::kNotASocket:
      return absl::StrCat(path, " is not a socket: name vmeventd's socket with --server unix:PATH");
    case ProbeResult::Kind::kCannotConnect:
      return ExplainUnixConnect(path, result);
    default:
      if (result.daemon != 0) {
        return absl::StrCat("vmeventd (pid ", result.daemon, ") listens on the socket ", path,
                            " and does not answer: it hangs or is stopped; its log or "
                            "/proc/",
                            result.daemon, "/stack shows where");
      }
      return absl::StrCat("another program listens on the socket ", path,
                          ", and does not answer as vmeventd does");
  }
}

}  // namespace

ProbeResult Probe(const ServerAddress& address) {
  return address.is_unix() ? ProbeUnix(address) : ProbeTcp(address);
}

std::string ExplainProbe(const ServerAddress& address, const ProbeResult& result) {
  if (address.is_unix()) return ExplainUnix(address, result);
  const std::string where = ToText(address);
  switch (result.kind) {
    case ProbeResult::Kind::kNoSuchHost:
      return absl::StrCat("the host of ", where, " cannot be resolved (", result.detail,
                          "): check the name given with --server");
    case ProbeResult::Kind::kCannotConnect:
      return absl::StrCat("cannot connect to ", where, " (", strerror(result.error),
                          "): start vmeventd with --listen ", WithoutNumeric(address),
                          ", or name its address with --server");
    default:
      return absl::StrCat(
          address.tls ? "TLS with " : "", where,
          address.tls ? " fails" : " does not answer as vmeventd does, or speaks TLS",
          ": `vmevents --server ", WithoutNumeric(address), " doctor`",
          address.tls ? " with the same --tls options shows why" : " shows why");
  }
}

UniqueFd ConnectTcp(const ServerAddress& address, int* error) {
  const std::string& host = address.numeric.empty() ? address.host : address.numeric;
  const absl::StatusOr<HostAddresses> all = FindHost(host, address.port);
  *error = EHOSTUNREACH;
  return all.ok() ? ConnectToAny(all->get(), error) : UniqueFd();
}

}  // namespace vmeventd::client
