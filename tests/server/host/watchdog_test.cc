#include "server/host/watchdog.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace vmeventd {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(30);
constexpr Watchdog::Thread kAll[] = {Watchdog::kWatcher, Watchdog::kPump, Watchdog::kAcceptor};

// The longest time without a notification where `thread` hangs from `from` to `to`, and all others
// answer within a millisecond.
absl::Duration Gap(Watchdog::Thread thread, absl::Duration from, absl::Duration to) {
  Watchdog watchdog(kLimit);
  absl::Duration notified;
  absl::Duration gap;
  bool asked[Watchdog::kThreads] = {};
  const absl::Duration step = absl::Milliseconds(1);
  absl::Duration next = watchdog.turn();
  for (absl::Duration now; now < absl::Seconds(100); now += step) {
    for (const Watchdog::Thread each : kAll) {
      if (!asked[each] || (each == thread && from <= now && now < to)) continue;
      asked[each] = false;
      watchdog.Answer(each);
    }
    if (now < next) continue;
    next = now + watchdog.turn();
    if (!watchdog.Turn(now)) continue;
    gap = std::max(gap, now - notified);
    notified = now;
    for (bool& each : asked) each = true;
  }
  return std::max(gap, absl::Seconds(100) - notified);
}

TEST(Watchdog, AHangShorterThanTheLimitDoesNotEndTheDaemon) {
  for (const Watchdog::Thread thread : kAll) {
    EXPECT_LE(Gap(thread, absl::Seconds(1000), absl::Seconds(1000)), absl::Seconds(1.1));
    for (const absl::Duration phase : {absl::ZeroDuration(), absl::Milliseconds(2),
                                       absl::Milliseconds(500), absl::Milliseconds(999)}) {
      const absl::Duration from = absl::Seconds(20) + phase;
      EXPECT_LT(Gap(thread, from, from + absl::Seconds(29)), kLimit) << thread << " " << phase;
      EXPECT_GE(Gap(thread, from, from + absl::Seconds(33)), kLimit) << thread << " " << phase;
    }
  }
}

}  // namespace
}  // namespace vmeventd
