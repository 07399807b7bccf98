#include "client/fleet/fleet_servers.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

bool IsFleetText(absl::string_view text) {
  return absl::StartsWith(text, "nats://") || absl::StartsWith(text, "tls://");
}

std::string ToText(const FleetAddress& address) {
  return EscapeForTerminal(absl::StrJoin(address.servers, ","));
}

FleetConnector ConnectorTo(const FleetAddress& address) {
  NatsOptions options;
  options.servers = address.servers;
  options.name = "vmevents";
  options.inbox_prefix = "_INBOX.vmevents";
  options.credentials = address.credentials;
  options.domain = address.domain;
  if (address.tls) {
    options.tls_ca = address.tls->ca_file;
    options.tls_cert = address.tls->cert_file;
    options.tls_key = address.tls->key_file;
    options.tls_server_name = address.tls->server_name;
  }
  return [options] { return ConnectNats(options); };
}

Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status) {
  const std::string why = EscapeForTerminal(status.message());
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return {ExitCode::kUnreachable,
              absl::StrContains(why, servers) ? why : absl::StrCat(servers, ": ", why)};
    case absl::StatusCode::kNotFound:
      return {ExitCode::kNotFound,
              absl::StrCat(servers, " has no stream or bucket of a fleet (", why,
                           "): create them by `vmevents fleet create`, unless these credentials "
                           "are of another account")};
    default:
      return {ExitCode::kFailed, why};
  }
}

}  // namespace vmeventd::client
