#include "base/clock.h"

#include <ctime>

namespace vmeventd {
namespace {

absl::Duration Read(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return absl::DurationFromTimespec(time);
}

}  // namespace

Instant SystemClock::Now() const {
  return {absl::UnixEpoch() + Read(CLOCK_REALTIME), Read(CLOCK_MONOTONIC)};
}

}  // namespace vmeventd
