#pragma once

#include <memory>

#include "absl/time/time.h"
#include "client/sources/fleet_environment.h"
#include "client/sources/reconnecting_source.h"
#include "client/sources/source.h"
#include "client/sources/watch_command.h"

namespace vmeventd::client {

// The key of a fleet's position in a cursor file.
inline constexpr char kFleetCursorKey[] = "fleet";

// Interval at which a watch compares its position with the stream.
inline constexpr absl::Duration kFleetProgressInterval = absl::Seconds(10);

// Makes the source of the events of a fleet's stream as they arrive: each event once, those of a
// node in order, over as many connections as needed. A position is a sequence of the stream, and
// the time at which its message was stored. The time shows whether it is still the same stream: a
// stream may be deleted and created again, restored from a copy, or rolled back, and nodes then
// publish again what it lacks. In this case the watch resumes at that time, and reports this once.
// A FromSequence without a journal_id means the present stream. All objects in the environments
// must outlive the source; both must have the same `note`.
std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment);

}  // namespace vmeventd::client
