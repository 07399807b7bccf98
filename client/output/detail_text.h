#pragma once

#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Describes an event for a row that shows the day; not escaped. `wide`: of a wide table.
std::string DetailText(const v1::Event& event, absl::TimeZone zone, bool wide);

}  // namespace vmeventd::client
