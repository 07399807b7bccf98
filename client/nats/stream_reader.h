#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"

// Reads a stream of JetStream.

namespace vmeventd::client {

// Start of reading: at a sequence of the stream, at the first message stored at or after a
// time, or with the last message of each subject.
struct LastOfEachSubject {};
using ReadStart = std::variant<uint64_t, absl::Time, LastOfEachSubject>;

// Reads a stream in order, each message once, with its own pull consumer, which acknowledges
// nothing and expires by itself. Requests kMessages at a time, so no more than these wait here.
// After an error, make a new reader that starts after the last message. One thread.
class StreamReader {
 public:
  static constexpr int kMessages = 1000;
  // Size limit of a pull in bytes, doubled for a larger message. A server closes a connection with
  // a backlog of more than 64 MiB.
  static constexpr int64_t kBytes = int64_t{8} << 20;

  // `subjects` must not overlap; empty: all subjects of the stream. A server before 2.10 supports
  // only one subject, and sends all messages if there are more. `clock` must be a clock that is
  // never set. `connection` must outlive the reader. Errors: see ReadStreamState().
  static absl::StatusOr<std::unique_ptr<StreamReader>> Open(
      NatsConnection* connection, std::string stream, const std::vector<std::string>& subjects,
      const ReadStart& start, std::function<absl::Time()> clock);
  // Deletes the consumer, without waiting for the answer.
  ~StreamReader();
  StreamReader(const StreamReader&) = delete;
  StreamReader& operator=(const StreamReader&) = delete;

  // Waits for the next message; nullopt: none came within `timeout`. UNAVAILABLE: the connection or
  // the consumer is lost, or messages were lost.
  absl::StatusOr<std::optional<StoredMessage>> Next(absl::Duration timeout);
  // Returns the number of messages that are still to be read, as the server last reported it.
  uint64_t pending() const { return pending_; }
  // Asks the server whether all messages of these subjects that the stream has were read.
  absl::StatusOr<bool> AskWhetherAllIsRead();

 private:
  StreamReader(NatsConnection* connection, std::string stream, std::function<absl::Time()> clock)
      : connection_(connection), stream_(std::move(stream)), clock_(std::move(clock)) {}

  NatsConnection* const connection_;
  const std::string stream_;
  const std::function<absl::Time()> clock_;
  std::string consumer_;
  std::string inbox_;
  std::unique_ptr<NatsSubscription> subscription_;
  int wanted_ = 0;  // number of messages still to come from the current pull; 0: there is no pull
  int64_t bytes_ = kBytes;
  uint64_t read_ = 0;
  uint64_t pending_ = 0;
  absl::Time received_;  // time of the consumer's last message
};

}  // namespace vmeventd::client
