#include "watcher/signals/boot_clock.h"

#include <unistd.h>

#include <ctime>

#include "base/clock.h"

namespace vmeventd {

absl::Duration StartOf(uint64_t start_ticks) {
  static const absl::Duration kTick = absl::Seconds(1) / sysconf(_SC_CLK_TCK);
  return kTick * static_cast<int64_t>(start_ticks);
}

absl::Duration SinceBoot() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return absl::DurationFromTimespec(now);
}

absl::Time WallTimeOf(absl::Duration since_boot) {
  return SystemClock().Now().wall - (SinceBoot() - since_boot);
}

}  // namespace vmeventd
