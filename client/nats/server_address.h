#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/text.h"

namespace vmeventd {

// Address that a NATS server listens at.
struct NatsServerAddress {
  std::string host;  // a name, or an IP address in digits
  uint16_t port = 4222;
  bool tls = false;  // tls://

  bool is_loopback() const { return IsLoopback(host); }
  // nats://HOST:PORT or tls://HOST:PORT, with an IPv6 address in brackets.
  std::string ToUrl() const;
  friend bool operator==(const NatsServerAddress&, const NatsServerAddress&) = default;
};

// Returns whether a text means NATS servers: it begins with nats:// or tls://.
bool IsNatsUrl(absl::string_view text);
// Parses nats://HOST[:PORT][,nats://HOST[:PORT]...], or tls:// likewise; one that follows may leave
// the scheme out. INVALID_ARGUMENT names the text and the rule; never a password that stands in it.
absl::StatusOr<std::vector<NatsServerAddress>> ParseNatsServers(absl::string_view text);

}  // namespace vmeventd
