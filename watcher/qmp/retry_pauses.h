#pragma once

#include "absl/time/time.h"

namespace vmeventd {

// Pauses before a monitor's socket is tried again. They double from the first to the longest one.

inline constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
inline constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// Longest retry interval of a socket that refuses: the file that a killed QEMU left does for ever.
inline constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// First retry after the end of a monitor that worked, whose process usually ends next.
inline constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
inline constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// Shortest time for which a monitor must have answered to get a quick reconnect.
inline constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

}  // namespace vmeventd
