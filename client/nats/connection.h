#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"

// Connections to NATS servers. Uses NATS's client library, which is loaded when it is first needed.
// Every call has a time limit. Errors are for people and contain no secrets.

namespace vmeventd::client {

// Returns whether a text names NATS servers: it begins with nats:// or tls://.
bool IsNatsUrl(absl::string_view text);
// Parses nats://HOST[:PORT][,nats://HOST[:PORT]...], or the same with tls://, which sets `tls` in
// the addresses. The second and further ones may omit the scheme. INVALID_ARGUMENT names the text
// and the rule, but never a password in the text.
absl::StatusOr<std::vector<ServerAddress>> ParseNatsServers(absl::string_view text);
// nats://HOST:PORT or tls://HOST:PORT.
std::string NatsUrl(const ServerAddress& server);

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

// A message, to send or received.
struct NatsMessage {
  std::string subject = {};
  std::string reply = {};  // subject for the answer; empty: no answer is wanted
  std::string data = {};
  std::vector<std::pair<std::string, std::string>> headers = {};

  // Returns a header's value; empty: there is no such header. The server's own messages have
  // "Status", such as "404", and "Description". Ignores the case of `name`.
  std::string header(absl::string_view name) const {
    for (const auto& [known, value] : headers) {
      if (absl::EqualsIgnoreCase(known, name)) return value;
    }
    return "";
  }
};

// A subscription to a subject. One thread.
class NatsSubscription {
 public:
  virtual ~NatsSubscription() = default;
  // Waits for the next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection is
  // lost.
  virtual absl::StatusOr<std::optional<NatsMessage>> Next(absl::Duration timeout) = 0;
};

// One connection to one of the servers. Never reconnects. Any thread.
class NatsConnection {
 public:
  // Time limit to connect to one server, and to get an answer to a request.
  static constexpr absl::Duration kConnectTimeout = absl::Seconds(2);
  static constexpr absl::Duration kRequestTimeout = absl::Seconds(5);
  static constexpr size_t kMaxWaiting = 4096;

  virtual ~NatsConnection() = default;

  // Sends a message whose `reply` is empty, and returns the data of the answer. Only the receiver
  // of the message can answer it. UNAVAILABLE: no answer came, or the connection is lost.
  // NOT_FOUND: nobody serves the subject. INVALID_ARGUMENT: see Publish().
  virtual absl::StatusOr<std::string> Request(const NatsMessage& message,
                                              absl::Duration timeout = kRequestTimeout) = 0;
  // Sends a message at once, without confirmation of its arrival. INVALID_ARGUMENT: it is larger
  // than the server permits; the connection stays usable. UNAVAILABLE: any other error.
  virtual absl::Status Publish(const NatsMessage& message) = 0;
  // Receives messages that are sent from now on. Up to kMaxWaiting messages wait to be read;
  // further ones are dropped. The connection must outlive the subscription.
  virtual absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(
      const std::string& subject) = 0;
  // A subject that nobody else knows, for answers.
  virtual std::string NewInbox() = 0;
  // Returns whether the connection is lost. Does not block.
  virtual bool closed() const = 0;
  // The last error that the server reported on this connection, such as that the client may not
  // publish to a subject; empty: none. The server refuses such messages without an answer.
  virtual std::string complaint() const = 0;
};

// Connects to one of the servers. UNAVAILABLE: no server can be reached, or it refuses the client.
// FAILED_PRECONDITION: NATS's client library is missing; names the package to install.
absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& options);

}  // namespace vmeventd::client
