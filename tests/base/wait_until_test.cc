#include <gtest/gtest.h>

#include <thread>

#include "base/mutex.h"

namespace vmeventd {
namespace {

TEST(WaitUntil, ReturnsAtOnceIfTheConditionHolds) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(&mutex);
  EXPECT_TRUE(WaitUntil(&changed, &mutex, absl::ZeroDuration(), [] { return true; }));
}

TEST(WaitUntil, GivesUpAtItsTimeout) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(&mutex);
  EXPECT_FALSE(WaitUntil(&changed, &mutex, absl::Milliseconds(1), [] { return false; }));
  EXPECT_FALSE(WaitUntil(&changed, &mutex, -absl::Seconds(1), [] { return false; }));
}

TEST(WaitUntil, SeesChangesOfAnotherThread) {
  Mutex mutex;
  CondVar changed;
  int value = 0;
  std::thread other([&] {
    for (int i = 1; i <= 2; ++i) {
      const MutexLock lock(&mutex);
      value = i;
      changed.NotifyAll();
    }
  });
  {
    const MutexLock lock(&mutex);
    EXPECT_TRUE(WaitUntil(&changed, &mutex, absl::InfiniteDuration(), [&] { return value == 2; }));
  }
  other.join();
}

}  // namespace
}  // namespace vmeventd
