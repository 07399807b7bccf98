#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/connect/server_address.h"
#include "client/nats/options.h"

// The addresses of NATS servers. Pure.

namespace vmeventd::client {

// Returns whether a text names NATS servers: it begins with nats:// or tls://.
bool IsNatsUrl(absl::string_view text);
// Parses nats://HOST[:PORT][,nats://HOST[:PORT]...], or the same with tls://, which sets `tls` in
// the addresses. The second and further ones may omit the scheme. INVALID_ARGUMENT names the text
// and the rule, but never a password in the text.
absl::StatusOr<std::vector<ServerAddress>> ParseNatsServers(absl::string_view text);
// nats://HOST:PORT or tls://HOST:PORT.
std::string NatsUrl(const ServerAddress& server);

// The servers of a fleet in the form that users write, safe for a terminal.
std::string ToText(const NatsOptions& fleet);

}  // namespace vmeventd::client
