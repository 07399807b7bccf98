#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "client/nats/message.h"

// Streams of JetStream. Its API is JSON on NATS subjects. The functions of NATS's library are not
// used: when they update a stream, they drop settings of later servers; when they read one, they
// mistake a publisher's header for the server's status.

namespace vmeventd::client {

// Creates a stream with these settings, which are JSON. If the stream exists, turns off its unsafe
// settings and sets the number of its replicas. `replicas` 0: 1 for a new stream, unchanged for an
// existing one. Returns one line for people on what was done. FAILED_PRECONDITION: the server
// refuses it. Other errors: see ReadStreamState().
absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas);

// State of a stream.
struct StreamState {
  std::string created;    // creation time as text; distinguishes streams with the same name
  uint64_t first = 0;     // sequence of the oldest message; `last` + 1: the stream is empty
  uint64_t last = 0;      // sequence of the newest message that it ever had
  absl::Time first_time;  // storage time of `first`
  absl::Time last_time;   // storage time of `last`
  // The settings that let a node change what other nodes have published, for people. Empty: none.
  std::string unsafe;
};
// Reads a stream's state. NOT_FOUND: there is no such stream. UNAVAILABLE: the server has no
// JetStream, or see NatsConnection::Request().
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// A message that a stream has.
struct StoredMessage {
  NatsMessage message;
  uint64_t stream_sequence = 0;
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
};
// Read the message at a sequence, or the last one that matches `subjects`. NOT_FOUND: there is no
// such message or stream.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence);
absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects);

// Stores a message in the stream, and returns its sequence there. INVALID_ARGUMENT: the stream
// never accepts this message. After any other error the message may be stored.
absl::StatusOr<uint64_t> Store(NatsConnection* connection, absl::string_view stream,
                               const NatsMessage& message, absl::Duration timeout);

}  // namespace vmeventd::client
