#pragma once

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/wait.h"

namespace vmeventd {

// When a call that a test makes ends with DEADLINE_EXCEEDED: after Patience().
inline std::chrono::system_clock::time_point CallDeadline() {
  return absl::ToChronoTime(absl::Now() + Patience());
}

}  // namespace vmeventd
