#pragma once

#include "absl/time/time.h"

namespace vmeventd::client {

// Longest time by which an event may be stored before its own time, because the clocks of node and
// server differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

}  // namespace vmeventd::client
