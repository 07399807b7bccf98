#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Connections to NATS servers, by NATS's client library, which is loaded when it is first needed.
// No call blocks without a limit. Errors are for people and contain no secrets.

namespace vmeventd {

struct NatsOptions {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT, in any order
  std::string name;                  // the client's, which the server shows
  std::string credentials;           // a file of NATS's form; empty: none
  std::string tls_ca;                // PEM files; empty: the system's authorities
  std::string tls_cert;              // empty: the client shows none
  std::string tls_key;
  std::string tls_server_name;  // expected in the servers' certificates; empty: the host of each
  // Domain of the JetStream; see InDomain(). Empty: the servers' own.
  std::string domain;
  // Prefix of the subjects to which answers come. A client that may subscribe to another's prefix
  // sees its answers: each has one of its own (docs/many-nodes.md).
  std::string inbox_prefix = "_INBOX";
};

// A message to send.
struct NatsOutgoing {
  absl::string_view subject;
  absl::string_view reply;  // subject of an answer; empty: none is wanted
  absl::string_view data;
  const std::vector<std::pair<std::string, std::string>>* headers = nullptr;  // null: none
};

// A message that was received. One thread.
class NatsMessage {
 public:
  virtual ~NatsMessage() = default;
  // Valid as long as the message lives.
  virtual absl::string_view subject() const = 0;
  virtual absl::string_view reply() const = 0;  // empty: no answer is wanted
  virtual absl::string_view data() const = 0;
  // Empty: it has no such header. The server's own messages have "Status", as "404", and
  // "Description".
  virtual std::string header(const char* name) const = 0;
  // Returns whether this is the server's report that nobody serves a request's subject.
  virtual bool no_responders() const = 0;
};
using NatsMessagePtr = std::unique_ptr<NatsMessage>;

// A subscription to a subject, with a queue of limited length. One thread.
class NatsSubscription {
 public:
  virtual ~NatsSubscription() = default;
  // The next message; null: none came within `timeout`. UNAVAILABLE: the connection is lost.
  // RESOURCE_EXHAUSTED: the queue was full, and messages are missing before the next one.
  virtual absl::StatusOr<NatsMessagePtr> Next(absl::Duration timeout) = 0;
};

// One connection to one of the servers. Never reconnects. Any thread.
class NatsConnection {
 public:
  // Time limit to connect to one server, and to get an answer to a request.
  static constexpr absl::Duration kConnectTimeout = absl::Seconds(2);
  static constexpr absl::Duration kRequestTimeout = absl::Seconds(5);

  virtual ~NatsConnection() = default;

  // The answer to a request. UNAVAILABLE: none came, or the connection is lost. NOT_FOUND: nobody
  // serves the subject.
  virtual absl::StatusOr<NatsMessagePtr> Request(const std::string& subject, absl::string_view data,
                                                 absl::Duration timeout = kRequestTimeout) = 0;
  // Sends a message, without confirmation of its arrival. INVALID_ARGUMENT: it is larger than the
  // server permits, and the connection stands; UNAVAILABLE: any other error.
  virtual absl::Status Publish(const NatsOutgoing& message) = 0;
  // Receives from now on. The queue holds up to `max_messages`; further ones are dropped. The
  // connection outlives the subscription.
  virtual absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(const std::string& subject,
                                                                      size_t max_messages) = 0;
  // A subject that nobody else uses, for answers.
  virtual absl::StatusOr<std::string> NewInbox() = 0;
  // Waits until the server has read what was sent.
  virtual absl::Status Flush(absl::Duration timeout = kRequestTimeout) = 0;
  // Returns whether the connection is lost. Does not block.
  virtual bool closed() const = 0;
  // Last error of the server on this connection, such as that the client may not publish a
  // subject; empty if there was none. The server refuses such messages without an answer.
  virtual std::string complaint() const = 0;
};

// Loads NATS's client library, once in a process. FAILED_PRECONDITION: it is missing; says what to
// install.
absl::Status LoadNatsLibrary();

// Connects to one of the servers, after LoadNatsLibrary. UNAVAILABLE: none is there, or it refuses
// the client; FAILED_PRECONDITION: there is no library.
absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& options);

}  // namespace vmeventd
