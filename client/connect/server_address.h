#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/connect/tls_options.h"

// The address of a daemon. Pure.

namespace vmeventd::client {

struct ServerAddress {
  std::string path;  // path of the Unix socket; empty: TCP or SSH
  // Host to log in to, such as "alice@node1"; empty: no SSH. With it, `port` may be empty.
  std::string ssh;
  std::string host;  // host without the brackets of an IPv6 address
  std::string port;
  std::optional<TlsOptions> tls;  // for TCP only; unset: no TLS

  bool is_unix() const { return !path.empty(); }
  bool is_ssh() const { return !ssh.empty(); }
  // The name that the server's certificate must have. Requires `tls`.
  const std::string& tls_name() const { return tls->server_name.empty() ? host : tls->server_name; }
};

// The port used if an address has none.
inline constexpr char kDefaultPort[] = "9555";
// The socket of the system's daemon.
inline constexpr char kSystemSocket[] = "/run/vmeventd/vmeventd.sock";

// Parses unix:PATH, /PATH, HOST[:PORT], [IPV6][:PORT] or ssh://[USER@]HOST[:PORT]. INVALID_ARGUMENT
// names the fault and the correct form.
absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view text,
                                                 absl::string_view default_port = kDefaultPort);

// Parses the address at which to listen: HOST[:PORT] or [IPV6][:PORT]. INVALID_ARGUMENT names the
// fault and the correct form.
absl::StatusOr<ServerAddress> ParseListenAddress(absl::string_view text,
                                                 absl::string_view default_port);

// Returns unix:/run/vmeventd/vmeventd.sock for root. For another user, vmeventd/vmeventd.sock in
// the user's runtime directory (`xdg_runtime_dir`; if empty, /run/user/UID), or the system's socket
// if that one does not exist. `may_exist` returns whether a path exists; it also returns true for a
// path that it has no permission to examine.
ServerAddress DefaultServerAddress(
    unsigned uid, absl::string_view xdg_runtime_dir,
    const std::function<bool(const std::string& path)>& may_exist = nullptr);

// The address as a user writes it, safe for a terminal.
std::string ToText(const ServerAddress& address);

// The --tls options of the address as text to paste, each after a blank; empty: none.
std::string TlsOptionsOf(const ServerAddress& address);

// The shortest text that ParseServerAddress() parses to this address; used as a node's name in a
// table.
std::string NodeName(const ServerAddress& address);

// The address in gRPC's form.
std::string ToGrpcTarget(const ServerAddress& address);

}  // namespace vmeventd::client
