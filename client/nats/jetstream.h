#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"

// Streams of JetStream. Its API is JSON on NATS subjects. NATS's library has functions for it,
// which do not fit: as they update a stream they drop the settings of later servers, and as they
// read one they take a publisher's header for the server's status.

namespace vmeventd::client {

// Subject of a request of JetStream's API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, as behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, are returned unchanged.
std::string InDomain(absl::string_view domain, absl::string_view subject);
// OK: it can be part of a subject. The error defines a domain.
absl::Status CheckDomain(absl::string_view domain);

// Creates a stream with these settings, which are JSON, or turns off the unsafe settings of the one
// that is there and sets the number of its replicas; 0: as it is, and 1 of what is made. Returns a
// line on that, for people. FAILED_PRECONDITION: the server refuses it. Other errors: see
// ReadStreamState().
absl::StatusOr<std::string> MakeStream(NatsConnection* connection, const std::string& stream,
                                       const std::string& settings, int replicas);

// State of a stream.
struct StreamState {
  std::string created;    // creation time as text; distinguishes streams of one name
  uint64_t first = 0;     // its oldest message; `last` + 1: it is empty
  uint64_t last = 0;      // the newest message that it ever had
  absl::Time first_time;  // storage time of `first`
  absl::Time last_time;   // storage time of `last`
  // Settings that let nodes change what others have published, for people. Empty: there are none.
  std::string unsafe;
};
// NOT_FOUND: there is no such stream. UNAVAILABLE: the server has no JetStream, or as
// NatsConnection::Request.
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// A message that a stream has.
struct StoredMessage {
  NatsMessage message;
  uint64_t stream_sequence = 0;
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
};
// The message at a position, or the last one that matches `subjects`. NOT_FOUND: there is none, or
// no such stream.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence);
absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects);

// Stores a message in the stream, and returns its sequence there. INVALID_ARGUMENT: the stream
// never takes this message. After another error it may be stored.
absl::StatusOr<uint64_t> Store(NatsConnection* connection, absl::string_view stream,
                               const NatsMessage& message, absl::Duration timeout);

}  // namespace vmeventd::client
