#include "client/connect/stop_source.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/time/time.h"

namespace vmeventd::client {
namespace {

TEST(StopSource, AWaitWithoutAStopTimesOut) {
  StopSource stop;
  EXPECT_FALSE(stop.WaitFor(absl::ZeroDuration()));
  EXPECT_FALSE(stop.stopped());
}

TEST(StopSource, StopEndsAWaitOfAnotherThread) {
  StopSource stop;
  bool stopped = false;
  std::thread waiter([&] { stopped = stop.WaitFor(absl::Hours(1)); });
  stop.Stop();
  waiter.join();
  EXPECT_TRUE(stopped);
}

}  // namespace
}  // namespace vmeventd::client
