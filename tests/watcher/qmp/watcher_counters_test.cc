// What the watcher counts, and that any thread may read it at any time.

#include <atomic>
#include <numeric>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"
#include "watcher/node/node_watcher.h"
#include "watcher/session/event_limiter.h"

namespace vmeventd {
namespace {

using WatcherCountersTest = NodeWatcherFixture;

uint64_t CountOf(const LatencyHistogram::Snapshot& times) {
  return std::accumulate(times.counts.begin(), times.counts.end(), uint64_t{0});
}

TEST_F(WatcherCountersTest, AShutdownFileIsTimedOnce) {
  const int monitor = Follow(&qemu_);
  EXPECT_EQ(CountOf(watcher_->counters().shutdown_file_times), 0u);
  PowerOff(&qemu_, monitor);
  EXPECT_EQ(CountOf(watcher_->counters().shutdown_file_times), 1u);
  EXPECT_GT(watcher_->counters().shutdown_file_times.sum, absl::ZeroDuration());
}

TEST_F(WatcherCountersTest, AMonitorThatAnswersAgainIsAReconnect) {
  const int monitor = Follow(&qemu_);
  EXPECT_EQ(watcher_->counters().monitor_reconnects, 0u);
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_EQ(watcher_->counters().monitor_reconnects, 1u);
}

TEST_F(WatcherCountersTest, WhatAFloodLosesIsCountedWhileItLasts) {
  constexpr int kFlood = 1000;
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  std::string lines;
  for (int i = 0; i < kFlood; ++i) lines += EventLine("SUSPEND");
  qemu_.Send(monitor, lines);
  EXPECT_TRUE(Until(
      [&] { return watcher_->counters().rate_limited_events == kFlood - EventLimiter::kBurst; }));
}

TEST_F(WatcherCountersTest, AnyThreadReadsThem) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  Start();
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) EXPECT_LE(CountOf(watcher_->counters().shutdown_file_times), 1u);
  });
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu_.Send(monitor, kGuestShutdownLine);
  qemu_.Exit();
  EXPECT_TRUE(UntilCount(EventType::kStopped, 1));
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace vmeventd
