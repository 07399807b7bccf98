#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"

// Streams of JetStream, whose API is JSON on NATS subjects. NATS's library has functions for it,
// which do not fit: as they update a stream they drop the settings of later servers, and as they
// read one they take a publisher's header for the server's status.

namespace vmeventd {

// Subject of a request of the API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, as behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, are returned unchanged.
std::string InDomain(absl::string_view domain, absl::string_view subject);
// OK: it can be part of a subject. The error defines a domain.
absl::Status CheckDomain(absl::string_view domain);

// Creates a stream with these settings, which are JSON, or turns off the unsafe settings of the one
// that is there and sets the number of its replicas; 0: as it is, and 1 of what is made. Returns a
// line on that, for people. FAILED_PRECONDITION: the server refuses it. UNAVAILABLE: it does not
// answer.
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
// The answer to STREAM.INFO. Errors as of ReadStreamState().
absl::StatusOr<StreamState> ParseStreamState(absl::string_view text);
// NOT_FOUND: there is no such stream. UNAVAILABLE: the server has no JetStream, or as
// NatsConnection::Request.
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// A message that a stream has.
struct StoredMessage {
  NatsMessage message;
  uint64_t stream_sequence = 0;
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
};
// The answer to STREAM.MSG.GET. Errors as of ReadMessage().
absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text);
// The message at a position, or the last one that matches `subjects`. NOT_FOUND: there is none, or
// no such stream.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t stream_sequence);
absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects);

// Start of reading: at a sequence of the stream, at the first message stored at or after a time,
// or with the last message of each subject.
struct LastOfEachSubject {};
using ReadStart = std::variant<uint64_t, absl::Time, LastOfEachSubject>;

// Contents of the reply subject of a consumer's message.
struct Delivery {
  uint64_t stream_sequence = 0;
  uint64_t number = 0;   // number among the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // matching messages after it
  absl::Time time;       // storage time in the stream
};
// nullopt: it is no such subject.
std::optional<Delivery> ParseDelivery(absl::string_view reply);

// Reads a stream in order, each message once, by a pull consumer of its own that acknowledges
// nothing and goes away by itself. It asks for kMessages at a time, so that no more wait here.
// After an error a new reader continues behind the last message. One thread.
class StreamReader {
 public:
  static constexpr int kMessages = 1000;
  // Size limit of a pull, doubled for a larger message: a server ends a connection with a backlog
  // of more than 64 MiB.
  static constexpr int64_t kBytes = int64_t{8} << 20;

  // `subjects` must not overlap; none: all of the stream's. A server before 2.10 knows one subject
  // only, and sends all messages if there are more. `clock` is one that is never set. `connection`
  // must outlive the reader. Errors as of ReadStreamState().
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(
      NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
      const ReadStart& start, std::function<absl::Time()> clock);
  // Deletes the consumer, without waiting for it.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // The next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection or the
  // consumer is lost, or messages are.
  absl::StatusOr<std::optional<StoredMessage>> Next(absl::Duration timeout);
  // Returns the number of the stream's messages that it has still to read, as far as it knows.
  uint64_t pending() const { return pending_; }
  // Asks the server whether everything was read that the stream has of these subjects.
  absl::StatusOr<bool> AskWhetherAllIsRead();

 private:
  StreamReader(NatsConnection* connection, std::string stream, std::function<absl::Time()> clock)
      : connection_(connection), stream_(std::move(stream)), clock_(std::move(clock)) {}

  absl::Status Pull();
  // Status of the pull, from the server.
  absl::Status TakeStatus(const NatsMessage& message);

  NatsConnection* const connection_;
  const std::string stream_;
  const std::function<absl::Time()> clock_;
  std::string consumer_;
  std::string inbox_;
  std::unique_ptr<NatsSubscription> subscription_;
  int wanted_ = 0;  // messages of the pull that is under way; 0: there is none
  int64_t bytes_ = kBytes;
  uint64_t read_ = 0;
  uint64_t pending_ = 0;
  absl::Time received_;  // time of the consumer's last message
};

// The sequence at which `stream` has stored a message, by the answer to it. INVALID_ARGUMENT: the
// stream never takes this message. UNAVAILABLE or NOT_FOUND: another error, or no acknowledgement.
absl::StatusOr<uint64_t> ParseAck(const NatsMessage& answer, absl::string_view stream);

}  // namespace vmeventd
