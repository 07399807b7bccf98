#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The texts that JetStream's API speaks: requests and answers are JSON on NATS subjects. Pure; any
// thread.

namespace vmeventd {

// Header of a bucket's message that deletes its key: "DEL" or "PURGE".
inline constexpr char kKeyOperationHeader[] = "KV-Operation";

// Subject of a request of the API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, as behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, stay as they are.
std::string InDomain(absl::string_view domain, absl::string_view subject);
// OK: it can be part of a subject. The error says what a domain is.
absl::Status CheckDomain(absl::string_view domain);

// Limits of a stream that vmeventd creates; docs/many-nodes.md has the reasons.
inline constexpr absl::Duration kStreamMaxAge = absl::Hours(24 * 30);
// Maximum age of a bucket's value since its last write; then it is dropped.
inline constexpr absl::Duration kBucketMaxAge = absl::Hours(24 * 30);

// The request that creates the stream of events, or the stream of a key-value bucket, which keeps
// the last value of each key. They permit neither rollups nor purging and deleting: a rollup of a
// node's own key would delete those of all, and a server of NATS 2.9 does what its API is asked for
// by its own answer, which it sends wherever a publisher wants it.
std::string CreateStreamRequest(absl::string_view stream, int replicas);
std::string CreateBucketRequest(absl::string_view bucket, int replicas);
// The request that turns off a stream's unsafe settings, and sets the number of its replicas; 0: as
// it is. `answer`: to STREAM.INFO.
std::string UpdateRequest(absl::string_view answer, int replicas);
// The last message that matches `subjects`; the one at a place.
std::string LastMessageRequest(absl::string_view subjects);
std::string MessageRequest(uint64_t stream_sequence);

// OK: the answer is no error. NOT_FOUND: there is no such stream or message. Otherwise its error,
// for people.
absl::Status CheckAnswer(absl::string_view text);

// State of a stream.
struct StreamState {
  std::string created;    // creation time as text; distinguishes streams of one name
  uint64_t first = 0;     // its oldest message; `last` + 1: it is empty
  uint64_t last = 0;      // the newest message that it ever had
  uint64_t messages = 0;  // messages it has now
  absl::Time first_time;  // storage time of `first`
  absl::Time last_time;   // storage time of `last`
  uint64_t replicas = 0;
  bool clustered = false;  // its server is in a cluster
  // Settings that let nodes change what others have published, for people. Empty: there are none.
  std::string unsafe;
  // Settings by which nodes cannot publish into it: it would lose what it acknowledges, or
  // acknowledge nothing. Empty: there are none.
  std::string unfit;
};
// The answer to STREAM.INFO, or to a request that creates a stream. Errors: as CheckAnswer.
absl::StatusOr<StreamState> ParseStreamState(absl::string_view answer);

// Returns the stream that acknowledges a message. INVALID_ARGUMENT: it never takes this message.
// UNAVAILABLE: another error, or no acknowledgement.
absl::StatusOr<std::string> ParseAck(absl::string_view text);

// A message that the stream has. Errors: as CheckAnswer.
struct StoredMessage {
  uint64_t stream_sequence = 0;
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
  std::string subject;
  std::string headers;  // "NATS/1.0\r\nNAME: VALUE\r\n\r\n", or empty
  std::string data;
};
absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text);

// The value of a header of a stored message; empty: there is no such header.
std::string HeaderIn(absl::string_view headers, absl::string_view name);

// Reading a stream, by a pull consumer that acknowledges nothing and goes away by itself.

// Start of reading: at a place of the stream, at the first message stored at or after a time,
// or with the last message of each subject.
struct LastOfEachSubject {};
using ReadStart = std::variant<uint64_t, absl::Time, LastOfEachSubject>;

// The request for a consumer. `subjects` must not overlap; none: all of the stream's. A server
// before 2.10 knows one subject only, and sends all messages if there are more.
std::string CreateConsumerRequest(absl::string_view stream,
                                  const std::vector<std::string>& subjects, const ReadStart& start);

// Progress of a consumer.
struct ConsumerState {
  std::string name;
  uint64_t pending = 0;    // messages of the stream that it has not sent
  uint64_t delivered = 0;  // messages that it has sent
  uint64_t scanned = 0;    // stream sequence up to which it has sent all matches
};
// Errors: as CheckAnswer.
absl::StatusOr<ConsumerState> ParseConsumerState(absl::string_view answer);

// The request for up to so many messages and bytes, which ends after `expires`. While none come,
// the consumer sends a heartbeat each `heartbeat`.
std::string PullRequest(int messages, int64_t bytes, absl::Duration expires,
                        absl::Duration heartbeat);

// Contents of the reply subject of a consumer's message.
struct Delivery {
  uint64_t stream_sequence = 0;
  uint64_t number = 0;   // place among the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // matching messages after it
  absl::Time time;       // storage time in the stream
};
// nullopt: it is no such subject.
std::optional<Delivery> ParseDelivery(absl::string_view reply);

}  // namespace vmeventd
