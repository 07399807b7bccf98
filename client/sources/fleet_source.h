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
// node in order, over as many connections as needed; FleetPosition decides what was lost. If the
// stream is no longer the same one, nodes publish again what it lacks: the watch resumes at the
// time of its position, and reports this once. A FromSequence without a journal_id means the
// present stream. All objects in the environments must outlive the source; both must have the same
// `note`.
std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment);

}  // namespace vmeventd::client
