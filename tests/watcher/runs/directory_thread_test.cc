#include "watcher/runs/directory_thread.h"

#include <future>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"
#include "tests/support/wait.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class DirectoryThreadTest : public testing::Test {
 protected:
  void Start(absl::Duration patience) {
    thread_ = std::make_unique<DirectoryThread>(loop_.get(), patience, [this] { ++changes_; });
  }
  // A task that returns its number once `wait` is over.
  void Run(int number, std::shared_future<void> wait = {}) {
    thread_->Run(
        [this, number, wait]() -> DirectoryThread::Then {
          if (wait.valid()) wait.wait();
          return [this, number] { done_.push_back(number); };
        },
        [this, number] { dropped_.push_back(number); });
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
  }
  void LetItHang() {
    ASSERT_TRUE(Until([&] {
      clock_.Advance(absl::Seconds(1));
      return thread_->hangs();
    }));
  }

  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::vector<int> done_;
  std::vector<int> dropped_;
  int changes_ = 0;
  std::unique_ptr<DirectoryThread> thread_;
};

TEST_F(DirectoryThreadTest, TheReturnedFunctionIsCalledAtOnceIfTheWorkIsQuick) {
  Start(absl::Minutes(1));
  Run(1);
  EXPECT_THAT(done_, ElementsAre(1));
}

TEST_F(DirectoryThreadTest, ReturnedFunctionsOfSlowWorkAreCalledByTheLoopInOrder) {
  Start(absl::ZeroDuration());
  std::promise<void> first;
  Run(1, first.get_future().share());
  Run(2);
  EXPECT_THAT(done_, IsEmpty());
  first.set_value();
  ASSERT_TRUE(Until([&] { return done_.size() == 2; }));
  EXPECT_THAT(done_, ElementsAre(1, 2));
  EXPECT_THAT(dropped_, IsEmpty());
}

TEST_F(DirectoryThreadTest, AHangDropsWaitingWork) {
  Start(absl::ZeroDuration());
  std::promise<void> answer;
  Run(1, answer.get_future().share());
  Run(2);
  clock_.Advance(DirectoryThread::kHangs);
  loop_->RunOnce(absl::ZeroDuration());
  EXPECT_FALSE(thread_->hangs()) << "the daemon itself may have been stopped";
  LetItHang();
  EXPECT_THAT(dropped_, ElementsAre(1, 2));
  Run(3);
  EXPECT_THAT(dropped_, ElementsAre(1, 2, 3));
  answer.set_value();
  ASSERT_TRUE(Until([&] { return !thread_->hangs(); }));
  EXPECT_EQ(changes_, 2);
  Run(4);
  ASSERT_TRUE(Until([&] { return !done_.empty(); }));
  EXPECT_THAT(done_, ElementsAre(4));
}

TEST_F(DirectoryThreadTest, AThreadMayBeDestroyedWhileItHangs) {
  Start(absl::ZeroDuration());
  std::promise<void> answer;
  Run(1, answer.get_future().share());
  LetItHang();
  thread_.reset();
  answer.set_value();
}

}  // namespace
}  // namespace vmeventd
