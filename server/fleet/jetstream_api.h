#ifndef VMEVENTD_SERVER_FLEET_JETSTREAM_API_H_
#define VMEVENTD_SERVER_FLEET_JETSTREAM_API_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/fleet/cloud_event.h"

// The texts that JetStream's API speaks: requests and answers are JSON on NATS subjects. Pure; any
// thread.

namespace vmeventd {

// What a stream that vmeventd creates keeps; docs/fleet.md has the reasons.
inline constexpr absl::Duration kStreamMaxAge = absl::Hours(24 * 30);
inline constexpr absl::Duration kStreamDuplicateWindow = absl::Minutes(2);

// The request that creates the stream.
std::string CreateStreamRequest(absl::string_view stream, int replicas);
// The last message that matches `subjects`; the next one from a place in the stream on.
std::string LastMessageRequest(absl::string_view subjects);
std::string NextMessageRequest(absl::string_view subjects, uint64_t stream_sequence);

// Whether an answer is one: NOT_FOUND: there is no such stream or message. Otherwise its error, for
// people.
absl::Status CheckAnswer(absl::string_view text);

// The acknowledgement of a message. UNAVAILABLE: it is an error, or no answer.
struct StreamAck {
  std::string stream;
  uint64_t stream_sequence = 0;
  bool repeated = false;
};
absl::StatusOr<StreamAck> ParseAck(absl::string_view text);

// A message that the stream has. Errors: as CheckAnswer.
struct StoredMessage {
  uint64_t stream_sequence = 0;
  std::optional<FleetMessageId> id;  // nullopt: another program has sent it
};
absl::StatusOr<StoredMessage> ParseStoredMessage(absl::string_view text);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_FLEET_JETSTREAM_API_H_
