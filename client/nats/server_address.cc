#include "client/nats/server_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/text.h"

namespace vmeventd {
namespace {

bool IsHostName(absl::string_view host) {
  constexpr absl::string_view kBytes =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
  return !host.empty() && host.size() <= 253 &&
         host.find_first_not_of(kBytes) == absl::string_view::npos;
}

absl::StatusOr<NatsServerAddress> ParseHostAndPort(absl::string_view text, bool tls) {
  NatsServerAddress server;
  server.tls = tls;
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "[")) {
    const size_t end = rest.find(']');
    if (end == rest.npos) return InvalidText(text, "has a [ without a ]");
    server.host = std::string(rest.substr(0, end));
    in6_addr parsed{};
    if (inet_pton(AF_INET6, server.host.c_str(), &parsed) != 1) {
      return InvalidText(text, "has no IPv6 address between [ and ]");
    }
    rest.remove_prefix(end + 1);
  } else {
    const size_t end = std::min(rest.find(':'), rest.size());
    server.host = std::string(rest.substr(0, end));
    if (!IsHostName(server.host)) {
      return InvalidText(text, "has no host name or IP address; write nats://HOST:PORT");
    }
    rest.remove_prefix(end);
  }
  if (rest.empty()) return server;
  uint32_t port = 0;
  if (!absl::ConsumePrefix(&rest, ":") ||
      rest.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(rest, &port) || port == 0 || port > 65535) {
    return InvalidText(text, "has a port that is not in 1 to 65535; write nats://HOST:PORT");
  }
  server.port = static_cast<uint16_t>(port);
  return server;
}

}  // namespace

bool IsNatsUrl(absl::string_view text) {
  return absl::StartsWith(text, "nats://") || absl::StartsWith(text, "tls://");
}

std::string NatsServerAddress::ToUrl() const {
  const bool v6 = absl::StrContains(host, ':');
  return absl::StrCat(tls ? "tls://" : "nats://", v6 ? "[" : "", host, v6 ? "]" : "", ":", port);
}

absl::StatusOr<std::vector<NatsServerAddress>> ParseNatsServers(absl::string_view text) {
  // It would stand in the log, and in the list of processes.
  if (absl::StrContains(text, '@')) {
    return absl::InvalidArgumentError(
        "a server's address must not have a user or a password: give a file of credentials instead "
        "(--credentials, of a push --push-credentials)");
  }
  std::vector<NatsServerAddress> servers;
  bool tls = false;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::string_view whole = part;
    if (absl::ConsumePrefix(&part, "tls://")) {
      tls = true;
    } else if (absl::ConsumePrefix(&part, "nats://")) {
      tls = false;
    } else if (servers.empty() || absl::StrContains(part, "://")) {
      return InvalidText(whole, "does not begin with nats:// or tls://; write nats://HOST:PORT");
    }
    absl::StatusOr<NatsServerAddress> server = ParseHostAndPort(part, tls);
    if (!server.ok()) return server.status();
    if (std::find(servers.begin(), servers.end(), *server) != servers.end()) {
      return InvalidText(whole, "is given twice");
    }
    servers.push_back(*std::move(server));
  }
  return servers;
}

}  // namespace vmeventd
