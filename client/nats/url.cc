#include "client/nats/url.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/quote.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

bool IsNatsUrl(absl::string_view text) {
  return absl::StartsWith(text, "nats://") || absl::StartsWith(text, "tls://");
}

std::string NatsUrl(const ServerAddress& server) {
  return absl::StrCat(server.tls ? "tls://" : "nats://", ToText(server));
}

absl::StatusOr<std::vector<ServerAddress>> ParseNatsServers(absl::string_view text) {
  // A password would appear in the log and in the list of processes.
  if (absl::StrContains(text, '@')) {
    return absl::InvalidArgumentError(
        "a server's address must not have a user or a password: give a file of credentials instead "
        "(--credentials, of a push --push-credentials)");
  }
  std::vector<ServerAddress> servers;
  std::set<std::string> urls;
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
    auto server = ParseServerAddress(part, /*default_port=*/"4222");
    if (!server.ok() || server->host.empty()) {
      return InvalidText(whole, "is not a server; write nats://HOST or nats://HOST:PORT");
    }
    if (tls) server->tls.emplace();
    if (!urls.insert(NatsUrl(*server)).second) return InvalidText(whole, "is given twice");
    servers.push_back(*std::move(server));
  }
  return servers;
}

std::string ToText(const NatsOptions& fleet) {
  return EscapeForTerminal(absl::StrJoin(fleet.servers, ","));
}

}  // namespace vmeventd::client
