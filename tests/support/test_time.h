#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "tests/support/manual_clock.h"

namespace vmeventd {

// Returns a fixed time: `seconds` after the start of a ManualClock.
inline absl::Time At(int64_t seconds) {
  return absl::FromUnixSeconds(ManualClock::kStartSeconds + seconds);
}

}  // namespace vmeventd
