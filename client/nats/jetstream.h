#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"

// JetStream: the texts of its API, whose requests and answers are JSON on NATS subjects, and
// reading and writing its streams.

namespace vmeventd {

// Subject of a request of the API: "$JS.API.STREAM.INFO.VMEVENTS".
std::string ApiSubject(absl::string_view request, absl::string_view stream);

// Maps `subject` to the JetStream of another domain, as behind a leaf node:
// "$JS.DOMAIN.API.STREAM.INFO.VMEVENTS", "$JS.DOMAIN.API.$KV.BUCKET.KEY". Other subjects, and all
// of them without a domain, are returned unchanged.
std::string InDomain(absl::string_view domain, absl::string_view subject);
// OK: it can be part of a subject. The error says what a domain is.
absl::Status CheckDomain(absl::string_view domain);

// The request that creates the stream of events, or the stream of a key-value bucket, which keeps
// the last value of each key. They permit neither rollups nor purging and deleting: a rollup of a
// node's own key would delete those of all, and a server of NATS 2.9 does what its API is asked for
// by its own answer, which it sends wherever a publisher wants it.
std::string CreateStreamRequest(absl::string_view stream, int replicas);
std::string CreateBucketRequest(absl::string_view bucket, int replicas);
// The request that turns off a stream's unsafe settings, and sets the number of its replicas; 0: as
// it is. `answer`: to STREAM.INFO.
std::string UpdateRequest(absl::string_view answer, int replicas);
// The requests for the last message that matches `subjects`, and for the one at a position.
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
  absl::Time first_time;  // storage time of `first`
  absl::Time last_time;   // storage time of `last`
  uint64_t replicas = 0;
  bool clustered = false;  // its server is in a cluster
  // Settings that let nodes change what others have published, for people. Empty: there are none.
  std::string unsafe;
  // Settings by which it would lose what it acknowledges. Empty: there are none.
  std::string unfit;
};
// The answer to STREAM.INFO, or to a request that creates a stream. Errors: as CheckAnswer.
absl::StatusOr<StreamState> ParseStreamState(absl::string_view answer);

// Returns the stream that acknowledges a message. INVALID_ARGUMENT: it never takes this message.
// UNAVAILABLE: another error, or no acknowledgement.
absl::StatusOr<std::string> ParseAck(absl::string_view text);

// A message that the stream has. Errors: as CheckAnswer.
struct StoredMessage {
  absl::Time time = absl::InfinitePast();  // storage time; the infinite past: not known
  NatsMessage message;
};
absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text);

// Reading a stream, by a pull consumer that acknowledges nothing and goes away by itself.

// Start of reading: at a sequence of the stream, at the first message stored at or after a time,
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
  uint64_t number = 0;   // number among the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // matching messages after it
  absl::Time time;       // storage time in the stream
};
// nullopt: it is no such subject.
std::optional<Delivery> ParseDelivery(absl::string_view reply);

// The answer to a request of JetStream's API about a stream.
// UNAVAILABLE: the server has no JetStream, or as NatsConnection::Request.
absl::StatusOr<std::string> AskJetStream(NatsConnection* connection, absl::string_view request,
                                         absl::string_view stream, absl::string_view text,
                                         absl::Duration timeout = NatsConnection::kRequestTimeout);

// State of a stream. NOT_FOUND: there is no such stream.
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// The message that MessageRequest() or LastMessageRequest() asks for. NOT_FOUND: there is none, or
// no such stream. Servers before 2.10 may search for the last one for seconds.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          const std::string& request,
                                          absl::Duration timeout = NatsConnection::kRequestTimeout);

// Reads a stream of JetStream in order, each message once, by a consumer of its own. It asks for
// kMessages at a time, so that no more wait here. After an error a new reader continues behind
// the last message. One thread.
class StreamReader {
 public:
  static constexpr int kMessages = 1000;
  // Size limit of a pull, doubled for a larger message: a server ends a connection with a backlog
  // of more than 64 MiB.
  static constexpr int64_t kBytes = int64_t{8} << 20;
  static constexpr absl::Duration kExpires = absl::Seconds(30);
  static constexpr absl::Duration kHeartbeat = absl::Seconds(5);
  static constexpr int kCreateAttempts = 5;
  static constexpr absl::Duration kCreateTimeout = absl::Seconds(2);
  // Timeout of a silent consumer, three heartbeats; then it counts as lost.
  static constexpr absl::Duration kSilence = absl::Seconds(15);

  // `clock` is one that is never set. `connection` must outlive the reader.
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(
      NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
      const ReadStart& start, std::function<absl::Time()> clock);
  // Deletes the consumer, without waiting for it.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  struct Message {
    NatsMessage message;
    uint64_t stream_sequence = 0;
    absl::Time time;  // storage time in the stream
  };
  // The next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection or the
  // consumer is lost, or messages are.
  absl::StatusOr<std::optional<Message>> Next(absl::Duration timeout);
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

// Publishes into streams of JetStream over a connection, which must outlive it, and waits for what
// they acknowledge. One thread.
class StreamWriter {
 public:
  // A stop ends what is under way.
  static absl::StatusOr<std::unique_ptr<StreamWriter>> Open(NatsConnection* connection,
                                                            std::stop_token stop);

  // Sends the messages in their order, and returns once each has an answer, or none came for
  // `timeout`. OK: all are stored but those of `unfit`, by index, which the stream never takes.
  // Otherwise any of them may be stored. CANCELLED: a stop.
  absl::Status Write(absl::string_view stream, std::vector<NatsMessage> messages,
                     absl::Duration timeout, std::vector<size_t>* unfit);

 private:
  StreamWriter(NatsConnection* connection, std::stop_token stop)
      : connection_(connection), stop_(std::move(stop)) {}

  NatsConnection* const connection_;
  const std::stop_token stop_;
  const std::string inbox_ = connection_->NewInbox();  // answers come to INBOX.BATCH.INDEX
  uint64_t batches_ = 0;                               // of the inbox
  std::unique_ptr<NatsSubscription> answers_;
};

}  // namespace vmeventd
