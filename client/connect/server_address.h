#ifndef VMEVENTD_CLIENT_CONNECT_SERVER_ADDRESS_H_
#define VMEVENTD_CLIENT_CONNECT_SERVER_ADDRESS_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Where the daemon listens. Pure.

namespace vmeventd::client {

// How to speak TLS: paths of PEM files.
struct TlsOptions {
  std::string ca_file;      // the authorities that a server's certificate may be from
  std::string cert_file;    // the client's own certificate; empty: it shows none
  std::string key_file;     // its key; set where cert_file is
  std::string server_name;  // whom the server's certificate must name; empty: the address's host
};

struct ServerAddress {
  std::string path;  // of the Unix socket; empty: TCP
  std::string host;  // without the brackets of an IPv6 address
  std::string port;
  // Of TCP: the one address of the host, in digits, that is spoken to; empty: any of them.
  std::string numeric;
  std::optional<TlsOptions> tls;  // of TCP alone; unset: no TLS

  bool is_unix() const { return !path.empty(); }
};

// The port of vmeventd where an address names none.
inline constexpr char kDefaultPort[] = "9555";

// unix:PATH, HOST[:PORT] or [IPV6][:PORT]. INVALID_ARGUMENT says what is wrong and what would be
// right.
absl::StatusOr<ServerAddress> ParseServerAddress(absl::string_view text);

// unix:/run/vmeventd/vmeventd.sock for root. For another user vmeventd/vmeventd.sock in the user's
// runtime directory, which is `xdg_runtime_dir`, or /run/user/UID where that is empty; but the
// system's socket where the user's is not there and the system's is, which `may_exist` says of a
// path. It says yes also where it may not look.
ServerAddress DefaultServerAddress(
    unsigned uid, absl::string_view xdg_runtime_dir,
    const std::function<bool(const std::string& path)>& may_exist = nullptr);

// As a user writes it, made safe for a terminal; with `numeric` where that says more.
std::string ToText(const ServerAddress& address);

// As gRPC wants it.
std::string ToGrpcTarget(const ServerAddress& address);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_SERVER_ADDRESS_H_
