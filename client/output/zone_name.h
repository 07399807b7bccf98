#pragma once

#include <string>

#include "absl/time/time.h"

namespace vmeventd::client {

// The name of a zone, such as Europe/Berlin or UTC. For a zone that was loaded from a path, the
// name of the zone to which the path leads, if it leads into a database of zones. If there is no
// name, the zone's offset from UTC at that time, such as +02:00.
std::string ZoneName(absl::TimeZone zone, absl::Time time);

}  // namespace vmeventd::client
