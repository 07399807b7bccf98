#include "base/clock.h"

#include <ctime>

#include "absl/random/random.h"

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

double RandomFraction() {
  thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

}  // namespace vmeventd
