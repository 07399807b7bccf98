#pragma once

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/wait.h"

namespace vmeventd {

// The deadline of a call that a test makes: Patience() from now.
inline std::chrono::system_clock::time_point CallDeadline() {
  return absl::ToChronoTime(absl::Now() + Patience());
}

}  // namespace vmeventd
