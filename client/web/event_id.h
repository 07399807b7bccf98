#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/output/watch_position.h"

namespace vmeventd::client {

// Positions of a stream, keyed by the index of the server.
using StreamPositions = std::map<size_t, WatchPosition>;

// The id of a server-sent event: "JOURNAL:SEQUENCE" for each server, separated by commas.
std::string ToEventId(const StreamPositions& positions);
// INVALID_ARGUMENT: `id` is not such an id, or has a position of a server beyond `servers`.
absl::StatusOr<StreamPositions> ParseEventId(absl::string_view id, size_t servers);

}  // namespace vmeventd::client
