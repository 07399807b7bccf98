#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/tls_options.h"
#include "client/nats/message.h"
#include "client/nats/options.h"

// Connections to NATS servers. Uses NATS's client library, which is loaded when it is first needed.
// Every call has a time limit. Errors are for people and contain no secrets.

namespace vmeventd::client {

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
