#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// Contents of the reply subject of a consumer's message.
struct AckSubject {
  uint64_t stream_sequence = 0;
  uint64_t number = 0;   // number among the consumer's messages: 1, 2, ...
  uint64_t pending = 0;  // matching messages after it
  absl::Time time;       // storage time in the stream
};
// Parses a reply subject; nullopt: it is not that of a consumer's message.
std::optional<AckSubject> ParseAckSubject(absl::string_view reply);

}  // namespace vmeventd::client
