#include "client/connect/stop_source.h"

#include <thread>

#include "gtest/gtest.h"

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

TEST(StopSource, StopsForGood) {
  StopSource stop;
  stop.Stop();
  stop.Stop();
  EXPECT_TRUE(stop.stopped());
  EXPECT_TRUE(stop.WaitFor(absl::Hours(1)));
  stop.SetCall(std::make_shared<grpc::ClientContext>());
  stop.SetCall(nullptr);
}

}  // namespace
}  // namespace vmeventd::client
