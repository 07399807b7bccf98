#include "watcher/libvirt/libvirt_workers.h"

#include <system_error>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(LibvirtWorkersTest, AThreadThatCannotBeMadeIsTriedAgain) {
  bool possible = false;
  std::vector<std::function<void()>> threads;
  const auto workers = LibvirtWorkers::Create([&](std::function<void()> body) {
    if (!possible) throw std::system_error(EAGAIN, std::generic_category());
    threads.push_back(std::move(body));
  });
  int done = 0;
  workers->Run([&] { ++done; });
  EXPECT_TRUE(workers->starved());
  workers->Retry();
  EXPECT_TRUE(workers->starved());
  possible = true;
  workers->Retry();
  EXPECT_FALSE(workers->starved());
  ASSERT_EQ(threads.size(), 1);
  threads[0]();
  EXPECT_EQ(done, 1);
  EXPECT_TRUE(workers->WaitForNone(absl::ZeroDuration()));
}

TEST(LibvirtWorkersTest, JobsBeyondTheLimitWaitForAThread) {
  std::vector<std::function<void()>> threads;
  const auto workers = LibvirtWorkers::Create(
      [&](std::function<void()> body) { threads.push_back(std::move(body)); });
  size_t done = 0;
  const size_t jobs = LibvirtWorkers::kMaxThreads + 10;
  for (size_t job = 0; job < jobs; ++job) workers->Run([&] { ++done; });
  EXPECT_EQ(threads.size(), LibvirtWorkers::kMaxThreads);
  EXPECT_FALSE(workers->starved());
  threads[0]();
  EXPECT_EQ(done, jobs) << "a thread that is free takes what waits";
  for (size_t thread = 1; thread < threads.size(); ++thread) threads[thread]();
  EXPECT_TRUE(workers->WaitForNone(absl::ZeroDuration()));
}

}  // namespace
}  // namespace vmeventd
