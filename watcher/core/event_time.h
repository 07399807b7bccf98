#pragma once

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Returns the earliest time at which the event may have happened: its observe_time, or an earlier
// time if nobody saw when it happened. A list's end_time compares it. Pure.
absl::Time EarliestTimeOf(const v1::Event& event);

}  // namespace vmeventd
