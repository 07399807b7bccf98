#pragma once

#include <cstdint>

#include "absl/time/time.h"

// The clock of SignalRecord::time, which begins at the boot and also runs while the host sleeps.

namespace vmeventd {

// Earliest start of a process with those ticks.
absl::Duration StartOf(uint64_t start_ticks);

// Returns the present time.
absl::Duration SinceBoot();

// Converts a time to the wall clock.
absl::Time WallTimeOf(absl::Duration since_boot);

}  // namespace vmeventd
