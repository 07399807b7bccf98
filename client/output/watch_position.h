#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace vmeventd::client {

// Position from which a later watch resumes: after `sequence` of that journal, or of a fleet's
// stream.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // Time at which a fleet's message at `sequence` was stored; identifies the stream. The infinite
  // past: not known.
  absl::Time message_time = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// A position in the events of one of the watched servers.
struct ServerPosition {
  size_t server = 0;  // index of the server
  WatchPosition position;
};

}  // namespace vmeventd::client
