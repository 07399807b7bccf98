#pragma once

#include "absl/status/status.h"
#include "base/error_reason.h"

namespace vmeventd {

// The status of a request that this daemon can no longer carry out, but the next one can.
inline absl::Status ShuttingDown() {
  return WithReason("SHUTTING_DOWN", absl::UnavailableError("vmeventd is shutting down"));
}

}  // namespace vmeventd
