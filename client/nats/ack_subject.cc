#include "client/nats/ack_subject.h"

#include <cstddef>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace vmeventd::client {

// $JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.NUMBER.TIME.PENDING; servers may put a domain and an
// account before the stream, and more at the end.
std::optional<AckSubject> ParseAckSubject(absl::string_view reply) {
  const std::vector<absl::string_view> tokens = absl::StrSplit(reply, '.');
  if (tokens.size() < 9 || tokens.size() == 10 || tokens[0] != "$JS" || tokens[1] != "ACK") {
    return std::nullopt;
  }
  const size_t at = tokens.size() == 9 ? 5 : 7;  // index of SEQUENCE
  AckSubject delivery;
  int64_t nanoseconds = 0;
  if (!absl::SimpleAtoi(tokens[at], &delivery.stream_sequence) ||
      !absl::SimpleAtoi(tokens[at + 1], &delivery.number) ||
      !absl::SimpleAtoi(tokens[at + 2], &nanoseconds) ||
      !absl::SimpleAtoi(tokens[at + 3], &delivery.pending)) {
    return std::nullopt;
  }
  delivery.time = absl::FromUnixNanos(nanoseconds);
  return delivery;
}

}  // namespace vmeventd::client
