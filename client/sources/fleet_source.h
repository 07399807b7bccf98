#pragma once

#include <memory>

#include "absl/time/time.h"
#include "client/sources/fleet_reader.h"
#include "client/sources/reconnecting_source.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// The key of a fleet's position in a cursor file.
inline constexpr char kFleetCursorKey[] = "fleet";

// Interval at which a watch compares its position with the stream.
inline constexpr absl::Duration kFleetProgressInterval = absl::Seconds(10);

// Makes the source of the events of a fleet's stream as they come, each once and in the order of
// its node, over as many connections as needed. A position is a sequence of the stream and the time
// at which its message was stored, by which it is recognised: the stream may be deleted and
// created, restored from a copy, or rolled back, and nodes then publish again what it lacks. The
// watch then continues by that time, and notes that once. A FromSequence without a journal_id is of
// the present stream. What the environments point to outlives the source; both have the same
// `note`.
std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment);

}  // namespace vmeventd::client
