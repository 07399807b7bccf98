#include "client/connect/failure.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/openssl_ptr.h"
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
      return {error, absl::StrCat("there is no socket ", shown,
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

// Connects within 2 s for each of the host's addresses. UNAVAILABLE, with a sentence without a full
// stop: it is not known, or the last error.
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

ProbeResult ProbeTcp(const ServerAddress& address) {
  const absl::StatusOr<UniqueFd> socket = ConnectTcp(address);
  if (!socket.ok()) return {EHOSTUNREACH, std::string(socket.status().message())};
  std::string fault = ExplainTlsFault(address);
  if (!fault.empty()) return {0, std::move(fault)};
  return {0, absl::StrCat(ToText(address),
                          " does not answer as vmeventd does: it is the port of another program, "
                          "or that of --metrics-listen, or it hangs; name an address of --listen "
                          "with --server")};
}

constexpr unsigned char kHttp2[] = {2, 'h', '2'};  // ALPN's encoding

std::string ExplainUntrusted(const ServerAddress& address, long error) {
  std::string fix = absl::StrCat("name the CA file of that server; --tls-ca ",
                                 EscapeForTerminal(address.tls->ca_file), " has no such CA");
  if (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID) {
    fix = "renew it, or the authority above it, or set the clock of this machine";
  } else if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    fix =
        absl::StrCat("use its host in --server, or give it with --tls-server-name; it is not for ",
                     EscapeForTerminal(address.tls_name()));
  } else if (error == X509_V_ERR_INVALID_PURPOSE) {
    fix = "issue one for servers (extended key usage serverAuth)";
  }
  return absl::StrCat("the certificate of ", ToText(address),
                      " is not trusted: ", X509_verify_cert_error_string(error), ": ", fix);
}

// The server's certificate is judged after the handshake, so that a fault of the client's is found
// as well. Sets `asked` once the server asks for a certificate of the client.
SslPtr MakeClient(const ServerAddress& address, SSL_CTX* context, int socket, bool* asked) {
  SSL_CTX_set_alpn_protos(context, kHttp2, sizeof(kHttp2));
  const auto note_question = [](SSL* /*ssl*/, void* out) {
    *static_cast<bool*>(out) = true;
    return 1;
  };
  SSL_CTX_set_cert_cb(context, note_question, asked);
  SslPtr ssl(SSL_new(context));
  SSL_set_fd(ssl.get(), socket);
  if (!address.tls) return ssl;
  // The name that the certificate must have, which the server is also asked for (SNI).
  const std::string& name = address.tls_name();
  X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) {
    X509_VERIFY_PARAM_set1_host(parameters, name.data(), name.size());
    SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  }
  return ssl;
}

Failure ExplainUnavailable(const ServerAddress& address, const std::string& message) {
  const ProbeResult probe = Probe(address);
  // gRPC's error for a server that accepts the connection and does not speak HTTP/2.
  const bool no_answer = absl::StrContains(message, "failed to connect to all addresses");
  if (no_answer || probe.error != 0) return {ExitCode::kUnreachable, probe.why};
  return {ExitCode::kUnreachable,
          absl::StrCat("vmeventd at ", ToText(address), " is not available now (", message, ")",
                       absl::StrContains(message, "try again") ? "" : ": try again")};
}

}  // namespace

std::string ExplainTlsFault(const ServerAddress& address) {
  const auto files = LoadTlsFiles(address.tls.value_or(TlsOptions()));
  if (!files.ok()) return std::string(files.status().message());
  const absl::StatusOr<UniqueFd> socket = ConnectTcp(address);
  if (!socket.ok()) return "";  // TLS is not the fault
  bool asked = false;
  const SslPtr ssl = MakeClient(address, files->context.get(), socket->get(), &asked);
  ERR_clear_error();
  int result = SSL_connect(ssl.get());
  const bool connected = result == 1;
  // A TLS 1.3 server refuses the client after the client's handshake; one that accepts sends its
  // HTTP/2 settings.
  char byte = 0;
  if (connected) result = SSL_read(ssl.get(), &byte, 1);
  const bool silent = SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ;
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  const int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  const bool is_alert = reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256;
  const char* const words = ERR_reason_error_string(error);
  // gRPC's server sends no alert: it closes the connection.
  const absl::string_view how = silent             ? "no answer in time"
                                : words == nullptr ? "it closed the connection"
                                                   : words;
  const std::string where = ToText(address);
  if (!address.tls) {
    if (!connected && !is_alert) return "";
    return absl::StrCat(where, " speaks TLS: name the CA of its certificate with --tls-ca FILE");
  }
  const long verified = SSL_get_verify_result(ssl.get());
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl.get()));
  if (certificate != nullptr && verified != X509_V_OK) {
    return ExplainUntrusted(address, verified);
  }
  const unsigned char* protocol = nullptr;
  unsigned protocol_size = 0;
  SSL_get0_alpn_selected(ssl.get(), &protocol, &protocol_size);
  if (connected && protocol_size == 0) {
    return absl::StrCat("another program speaks TLS on ", where, ", but not gRPC as vmeventd does");
  }
  if (result > 0) return "";
  if (asked && SSL_get_certificate(ssl.get()) == nullptr) {
    return absl::StrCat(where,
                        " asks for a certificate of the client: give --tls-cert and --tls-key");
  }
  if (asked && !silent) {
    return absl::StrCat(
        where, " refuses the certificate of --tls-cert ", EscapeForTerminal(address.tls->cert_file),
        " (", how,
        "): give one for clients that is in date, of the CA that vmeventd has as --tls-client-ca");
  }
  if (reason != 0 && !is_alert && reason != SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return absl::StrCat(where,
                        " does not speak TLS: remove --tls-ca, or start vmeventd with "
                        "--tls-cert and --tls-key");
  }
  return absl::StrCat("the TLS handshake with ", where, " failed (", how,
                      "): it may be stopping, at its limit of connections, or not speak TLS");
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
    absl::StrAppend(&text, " ", name, " ", EscapeForTerminal(QuoteForShell(*value)));
  }
  return text;
}

ProbeResult Probe(const ServerAddress& address) {
  return address.is_unix() ? ProbeUnix(address.path) : ProbeTcp(address);
}

Failure ExplainFailure(const ServerAddress& address, const grpc::Status& status) {
  using grpc::StatusCode;
  static constexpr struct {
    StatusCode status;
    ExitCode code;
    const char* what;
  } kFailures[] = {
      {StatusCode::DEADLINE_EXCEEDED, ExitCode::kUnreachable,
       " did not answer in time; try again: "},
      {StatusCode::INVALID_ARGUMENT, ExitCode::kUsage, " does not accept the request: "},
      {StatusCode::UNIMPLEMENTED, ExitCode::kFailed,
       " does not support this request; it is not vmeventd, or an older version: "},
      // The message names who may call and how to get the right.
      {StatusCode::PERMISSION_DENIED, ExitCode::kFailed, " does not permit this: "},
      {StatusCode::UNAUTHENTICATED, ExitCode::kFailed, " does not permit this: "},
      {StatusCode::RESOURCE_EXHAUSTED, ExitCode::kFailed,
       " is at one of its limits; try again later, or raise --max-streams of vmeventd: "}};
  const std::string message = EscapeForTerminal(status.error_message());
  const StatusCode code = status.error_code();
  if (code == StatusCode::UNAVAILABLE) return ExplainUnavailable(address, message);
  if (code == StatusCode::NOT_FOUND) return {ExitCode::kNotFound, message};
  if (code == StatusCode::DEADLINE_EXCEEDED && address.is_unix()) {
    const ProbeResult probe = Probe(address);
    if (probe.daemon != 0) return {ExitCode::kUnreachable, probe.why};
  }
  Failure failure = {ExitCode::kFailed, " could not do this: "};
  for (const auto& known : kFailures) {
    if (known.status == code) failure = {known.code, known.what};
  }
  failure.sentence = absl::StrCat("vmeventd at ", ToText(address), failure.sentence, message);
  return failure;
}

}  // namespace vmeventd::client
