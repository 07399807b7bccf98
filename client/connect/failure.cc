#include "client/connect/failure.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/system.h"
#include "base/unix_address.h"
#include "client/connect/connection.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// Waits 2 s at most for a connection, and for each transfer.
UniqueFd NewSocket(int family) {
  constexpr timeval kTimeout = {2, 0};
  UniqueFd made(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made.valid()) return made;
  setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout));
  setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout));
  return made;
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
  return absl::StrFormat(" (mode %04o, owner %s, group %s)", info.st_mode & 07777,
                         UserName(info.st_uid), GroupName(info.st_gid));
}

// The length of a path that is no socket's address by itself; empty of a shorter one.
std::string LengthText(const std::string& path) {
  if (path.size() <= UnixAddress::kMaxPath) return "";
  return absl::StrCat(" (its path has ", path.size(), " bytes; a Unix socket's holds ",
                      UnixAddress::kMaxPath,
                      " at most, beyond which only vmeventd and vmevents can go)");
}

// The group whose members have this right of the group; that of root is for no user.
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
  const UniqueFd socket = NewSocket(AF_UNIX);
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

// Kinds of servers that answer at an address.
enum class Answerer {
  kNothing,  // nothing, or no server of HTTP
  kHttp1,    // a server of HTTP/1 alone
  kHttp2     // a server of HTTP/2, as gRPC needs it
};

// Sends the preface of an HTTP/2 client (RFC 9113, 3.4), which a server of HTTP/2 answers with
// SETTINGS, and one of HTTP/1 refuses.
Answerer WhoAnswers(const ServerAddress& address) {
  if (address.is_ssh()) return Answerer::kNothing;
  if (address.tls) {
    return ExplainTlsFault(address).empty() ? Answerer::kHttp2 : Answerer::kNothing;
  }
  absl::StatusOr<UniqueFd> socket = UniqueFd();
  if (address.is_unix()) {
    const absl::StatusOr<UnixAddress> target = UnixAddress::Open(address.path);
    *socket = NewSocket(AF_UNIX);
    if (!target.ok() || !socket->valid() || target->Connect(socket->get()) != 0) {
      return Answerer::kNothing;
    }
  } else {
    socket = ConnectTcp(address);
  }
  // The preface ends with an empty SETTINGS frame.
  constexpr absl::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  if (!socket.ok() || send(socket->get(), kPreface.data(), kPreface.size(), MSG_NOSIGNAL) !=
                          static_cast<ssize_t>(kPreface.size())) {
    return Answerer::kNothing;
  }
  char answer[6];
  const ssize_t size = recv(socket->get(), answer, sizeof(answer), MSG_WAITALL);
  if (size != static_cast<ssize_t>(sizeof(answer))) return Answerer::kNothing;
  if (absl::string_view(answer, sizeof(answer)) == "HTTP/1") return Answerer::kHttp1;
  constexpr char kSettings = 4;  // the type of a frame is behind its length
  return answer[3] == kSettings ? Answerer::kHttp2 : Answerer::kNothing;
}

Failure ExplainUnavailable(const ServerAddress& address, const grpc::Status& status) {
  const std::string message = EscapeForTerminal(status.error_message());
  // Its own answer: it was reached.
  if (ReasonOf(status) == v1::ERROR_REASON_JOURNAL_UNAVAILABLE) {
    return {ExitCode::kFailed,
            absl::StrCat("vmeventd at ", ToText(address), " could not do this: ", message)};
  }
  const std::string unavailable =
      absl::StrCat("vmeventd at ", ToText(address), " is not available now (", message, ")");
  if (ReasonOf(status) != v1::ERROR_REASON_UNSPECIFIED) {
    return {ExitCode::kUnreachable, unavailable};
  }
  const ProbeResult probe = Probe(address);
  if (probe.error != 0) return {ExitCode::kUnreachable, probe.why};
  switch (WhoAnswers(address)) {
    case Answerer::kNothing:
      return {ExitCode::kUnreachable, probe.why};
    case Answerer::kHttp1:
      if (address.is_unix()) return {ExitCode::kUnreachable, probe.why};
      return {ExitCode::kUnreachable,
              absl::StrCat("another program listens on ", ToText(address),
                           ", and does not answer as vmeventd does: it may be the port of "
                           "vmeventd's --metrics-listen; name an address of --listen with "
                           "--server")};
    case Answerer::kHttp2:
      break;
  }
  return {ExitCode::kUnreachable, absl::StrCat(unavailable, ": try again")};
}

}  // namespace

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
    UniqueFd socket = NewSocket(one->ai_family);
    if (socket.valid() && connect(socket.get(), one->ai_addr, one->ai_addrlen) == 0) return socket;
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
  }
  return absl::UnavailableError(absl::StrCat("cannot connect to ", shown, " (", strerror(error),
                                             "): start vmeventd with --listen ", shown,
                                             ", or name its address with --server"));
}

std::string TlsOptionsOf(const ServerAddress& address) {
  if (!address.tls) return "";
  const std::pair<const char*, const std::string*> options[] = {
      {"--tls-ca", &address.tls->ca_file},
      {"--tls-cert", &address.tls->cert_file},
      {"--tls-key", &address.tls->key_file},
      {"--tls-server-name", &address.tls->server_name}};
  std::string text;
  for (const auto& [name, value] : options) {
    if (value->empty()) continue;
    absl::StrAppend(&text, " ", name, " ", QuoteForShell(*value));
  }
  return text;
}

ProbeResult Probe(const ServerAddress& address) {
  if (address.is_ssh()) {
    return {EHOSTUNREACH, absl::StrCat("vmeventd at ", ToText(address),
                                       " cannot be reached: ssh, or `vmevents proxy` there, has "
                                       "reported why")};
  }
  return address.is_unix() ? ProbeUnix(address.path) : ProbeTcp(address);
}

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return info;
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.UnpackTo(&info) && info.domain() == "vmeventd") return info;
  }
  return {};
}

v1::ErrorReason ReasonOf(const grpc::Status& status) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", InfoOf(status).reason()), &reason);
  return reason;
}

Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status) {
  const std::string message = EscapeForTerminal(status.error_message());
  ExitCode code = ExitCode::kFailed;
  const char* what = " could not do this: ";
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return ExplainUnavailable(address, status);
    case grpc::StatusCode::NOT_FOUND:
      return {ExitCode::kNotFound, message};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (const ProbeResult probe = Probe(address); probe.daemon != 0) {
        return {ExitCode::kUnreachable, probe.why};
      }
      code = ExitCode::kUnreachable;
      what = " did not answer in time; try again: ";
      break;
    case grpc::StatusCode::INVALID_ARGUMENT:
      code = ExitCode::kUsage;
      what = " does not accept the request: ";
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      what = " does not support this request; it is not vmeventd, or an older version: ";
      break;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      what = " does not permit this: ";  // the message names who may call and how to get the right
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      what = ReasonOf(status) == v1::ERROR_REASON_TOO_MANY_STREAMS
                 ? " is at one of its limits; try again later, or raise --max-streams of vmeventd: "
                 : " is at one of its limits; try again later: ";
      break;
    default:
      break;
  }
  return {code, absl::StrCat("vmeventd at ", ToText(address), what, message)};
}

Failure ExplainNoChannel(const ServerAddress& address, const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsUnavailable(status)) {
    return ExplainUnavailable(address, {grpc::StatusCode::UNAVAILABLE, message});
  }
  return {ExitCode::kFailed, message};
}

}  // namespace vmeventd::client
