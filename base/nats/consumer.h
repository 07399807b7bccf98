#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Texts for reading JetStream's streams, by a pull consumer that acknowledges nothing and goes away
// by itself. Pure; any thread.

namespace vmeventd {

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
