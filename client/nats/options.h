#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/connect/tls_options.h"

namespace vmeventd::client {

// Settings of a connection to NATS servers.
struct NatsOptions {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT, any of which is used
  std::string name = "vmevents";     // name of the client, which the server shows
  std::string credentials;           // path of a NATS credentials file; empty: none
  // Without a CA, the system's authorities are trusted. A server_name replaces the host as the
  // expected name.
  std::optional<TlsOptions> tls;
  std::string domain;  // domain of the JetStream; see InDomain(). Empty: the servers' own
  // Prefix of the subjects for answers. A client that may subscribe to another client's prefix sees
  // its answers, so each client needs its own prefix (docs/many-nodes.md).
  std::string inbox_prefix = "_INBOX.vmevents";
};

}  // namespace vmeventd::client
