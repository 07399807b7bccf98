#include "base/detached_threads.h"

#include <atomic>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(DetachedThreadsTest, JobsBeyondTheLimitWaitForAThread) {
  constexpr int kJobs = 20;
  std::atomic<int> done = 0;
  Mutex held;
  held.Lock();
  DetachedThreads two(2, [] {});
  for (int job = 0; job < kJobs; ++job) {
    two.Run([&] {
      const MutexLock lock(&held);
      ++done;
    });
  }
  EXPECT_FALSE(two.WaitForJobs(absl::ZeroDuration()));
  EXPECT_GE(two.waiting(), kJobs - 2);
  held.Unlock();
  EXPECT_TRUE(two.WaitForJobs(absl::InfiniteDuration()));
  EXPECT_EQ(done, kJobs);
}

}  // namespace
}  // namespace vmeventd
