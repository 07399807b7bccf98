#include "base/detached_threads.h"

#include <functional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

// Its threads run when the test calls them, and end as it is gone.
TEST(DetachedThreadsTest, AThreadThatCannotBeMadeIsTriedAgain) {
  bool possible = false;
  std::vector<std::function<void()>> bodies;
  int done = 0;
  {
    DetachedThreads threads(
        1, [] {},
        [&](std::function<void()> body) {
          if (!possible) throw std::system_error(EAGAIN, std::generic_category());
          bodies.push_back(std::move(body));
        });
    threads.Run([&] { ++done; });
    EXPECT_TRUE(threads.starved());
    threads.Retry();
    EXPECT_TRUE(threads.starved());
    possible = true;
    threads.Retry();
    EXPECT_FALSE(threads.starved());
    EXPECT_EQ(threads.waiting(), 1);
  }
  ASSERT_EQ(bodies.size(), 1);
  bodies[0]();
  EXPECT_EQ(done, 1);
}

TEST(DetachedThreadsTest, JobsBeyondTheLimitWaitForAThread) {
  constexpr int kMaxThreads = 10;
  std::vector<std::function<void()>> bodies;
  int done = 0;
  const int jobs = kMaxThreads + 10;
  {
    DetachedThreads threads(
        kMaxThreads, [] {}, [&](std::function<void()> body) { bodies.push_back(std::move(body)); });
    for (int job = 0; job < jobs; ++job) threads.Run([&] { ++done; });
    EXPECT_EQ(bodies.size(), kMaxThreads);
    EXPECT_FALSE(threads.starved());
    EXPECT_FALSE(threads.WaitForJobs(absl::ZeroDuration()));
    bodies[0]();
    EXPECT_EQ(done, jobs) << "a thread that is free takes what waits";
    EXPECT_TRUE(threads.WaitForJobs(absl::ZeroDuration()));
  }
  for (int thread = 1; thread < kMaxThreads; ++thread) bodies[thread]();
}

TEST(DetachedThreadsTest, WaitsForJobsThatAreUnderWay) {
  DetachedThreads threads(2, [] {});
  int done = 0;
  threads.Run([&] { ++done; });
  ASSERT_TRUE(threads.WaitForJobs(absl::InfiniteDuration()));
  EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace vmeventd
