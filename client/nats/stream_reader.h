#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream_api.h"

namespace vmeventd {

// The answer to a request of JetStream's API about a stream (jetstream_api.h has the texts).
// UNAVAILABLE: the server has no JetStream, or as NatsConnection::Request.
absl::StatusOr<std::string> AskJetStream(NatsConnection* connection, absl::string_view request,
                                         absl::string_view stream, absl::string_view text,
                                         absl::Duration timeout = NatsConnection::kRequestTimeout);
// The error where nobody answers a request of JetStream's API.
absl::Status NoJetStream();

// State of a stream. NOT_FOUND: there is no such stream.
absl::StatusOr<StreamState> ReadStreamState(NatsConnection* connection, absl::string_view stream);

// The message at a place of a stream. NOT_FOUND: there is none, or no such stream.
absl::StatusOr<StoredMessage> ReadMessage(NatsConnection* connection, absl::string_view stream,
                                          uint64_t place);
// The last message that matches `subjects`, likewise. Servers before 2.10 may search for seconds.
absl::StatusOr<StoredMessage> ReadLastMessage(NatsConnection* connection, absl::string_view stream,
                                              absl::string_view subjects);

// Reads a stream of JetStream in order, each message once, by a consumer of its own. It asks for
// kMessages at a time, so that no more wait here. After an error a new reader goes on behind the
// last message. One thread.
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
    NatsMessagePtr message;
    uint64_t stream_sequence = 0;
    absl::Time time;  // storage time in the stream
  };
  // The next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection or the
  // consumer is lost, or messages are.
  absl::StatusOr<std::optional<Message>> Next(absl::Duration timeout);
  // Returns the number of the stream's messages that it has still to read, as far as it knows.
  uint64_t pending() const { return pending_; }
  // Asks the server up to which place in the stream everything was read, messages of other subjects
  // included; nullopt: messages are on their way.
  absl::StatusOr<std::optional<uint64_t>> AskScanned();

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
  absl::Time heard_;  // time of the consumer's last sign of life
};

}  // namespace vmeventd
