#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace vmeventd {

// Real time, by a clock that nobody sets.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace vmeventd
