#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The texts by which JetStream's streams are read: a consumer that is pulled from, acknowledges
// nothing and goes away by itself. Pure; any thread.

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
  uint64_t delivered = 0;  // that it has sent
  uint64_t scanned = 0;    // it has sent what matches of the stream's messages up to here
};
// Errors: as CheckAnswer.
absl::StatusOr<ConsumerState> ParseConsumerState(absl::string_view answer);

// The request for so many messages and bytes, or what comes of them until `expires`; while nothing
// comes the consumer says so each `heartbeat`.
std::string PullRequest(int messages, int64_t bytes, absl::Duration expires,
                        absl::Duration heartbeat);

// Contents of the reply subject of a consumer's message.
struct Delivery {
  uint64_t stream_sequence = 0;
  uint64_t number = 0;   // of the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // that match behind it
  absl::Time time;       // when the stream stored it
};
// nullopt: it is no such subject.
std::optional<Delivery> ParseDelivery(absl::string_view reply);

}  // namespace vmeventd
