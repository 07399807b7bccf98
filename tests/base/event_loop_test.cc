#include "base/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

class Pipe : public FdHandler {
 public:
  explicit Pipe(EventLoop* loop) : loop_(loop) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    read_ = UniqueFd(ends[0]);
    write_ = UniqueFd(ends[1]);
    EXPECT_TRUE(loop_->Add(read_.get(), EPOLLIN, this).ok());
  }
  ~Pipe() override { Remove(); }

  void Fill() { EXPECT_EQ(write(write_.get(), "x", 1), 1); }
  void Remove() {
    if (!read_.valid()) return;
    loop_->Remove(read_.get());
    read_.Reset();
  }
  void OnFdReady(uint32_t) override {
    ++calls;
    if (on_ready) on_ready();
  }

  int fd() const { return read_.get(); }

  int calls = 0;
  std::function<void()> on_ready;

 private:
  EventLoop* const loop_;
  UniqueFd read_;
  UniqueFd write_;
};

class EventLoopTest : public testing::Test {
 protected:
  void Turn() { loop_->RunOnce(absl::ZeroDuration()); }

  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
};

TEST_F(EventLoopTest, ReportsInputUntilItIsRead) {
  Pipe pipe(loop_.get());
  Turn();
  EXPECT_EQ(pipe.calls, 0);
  pipe.Fill();
  Turn();
  Turn();
  EXPECT_EQ(pipe.calls, 2);
}

TEST_F(EventLoopTest, AHandlerMayRemoveAnotherThatIsDueInTheSameTurn) {
  Pipe first(loop_.get());
  Pipe second(loop_.get());
  first.on_ready = [&] { second.Remove(); };
  second.on_ready = [&] { first.Remove(); };
  first.Fill();
  second.Fill();
  Turn();
  EXPECT_EQ(first.calls + second.calls, 1);
}

TEST_F(EventLoopTest, TheNextUserOfADescriptorsNumberDoesNotGetItsInput) {
  Pipe first(loop_.get());
  Pipe second(loop_.get());
  std::unique_ptr<Pipe> next;
  const auto replace = [&](Pipe* other) {
    other->Remove();
    next = std::make_unique<Pipe>(loop_.get());  // takes the lowest number, the one just closed
  };
  first.on_ready = [&] { replace(&second); };
  second.on_ready = [&] { replace(&first); };
  first.Fill();
  second.Fill();
  Turn();
  EXPECT_EQ(next->calls, 0);
}

TEST_F(EventLoopTest, TimersFireInOrderOnceTheyAreDue) {
  std::vector<std::string> fired;
  const absl::Duration now = clock_.Now().monotonic;
  loop_->AddTimer(now + absl::Seconds(2), [&] { fired.emplace_back("late"); });
  loop_->AddTimer(now + absl::Seconds(1), [&] { fired.emplace_back("early"); });
  loop_->AddTimer(now + absl::Seconds(1), [&] { fired.emplace_back("early, second"); });
  Turn();
  EXPECT_THAT(fired, ElementsAre());
  clock_.Advance(absl::Seconds(1));
  Turn();
  EXPECT_THAT(fired, ElementsAre("early", "early, second"));
  clock_.Advance(absl::Seconds(1));
  Turn();
  Turn();
  EXPECT_THAT(fired, ElementsAre("early", "early, second", "late"));
}

TEST_F(EventLoopTest, ACancelledTimerDoesNotFire) {
  int fired = 0;
  TimerId id = loop_->AddTimer(clock_.Now().monotonic, [&] { ++fired; });
  loop_->CancelTimer(&id);
  EXPECT_EQ(id.serial, 0u);
  Turn();
  EXPECT_EQ(fired, 0);
}

TEST_F(EventLoopTest, SetTimerReplacesTheTimerOfThatId) {
  std::vector<std::string> fired;
  TimerId id;
  loop_->SetTimer(&id, clock_.Now().monotonic, [&] { fired.emplace_back("before"); });
  loop_->SetTimerIn(&id, absl::ZeroDuration(), [&] {
    fired.emplace_back(id.serial == 0 ? "cleared" : "not cleared");
    loop_->SetTimerIn(&id, absl::ZeroDuration(), [&] { fired.emplace_back("again"); });
  });
  Turn();
  EXPECT_THAT(fired, ElementsAre("cleared"));
  Turn();
  EXPECT_THAT(fired, ElementsAre("cleared", "again"));
}

TEST_F(EventLoopTest, ATimerMayCancelAnotherOfTheSameTurn) {
  int fired = 0;
  TimerId other;
  loop_->AddTimer(clock_.Now().monotonic, [&] { loop_->CancelTimer(&other); });
  other = loop_->AddTimer(clock_.Now().monotonic, [&] { ++fired; });
  Turn();
  EXPECT_EQ(fired, 0);
}

TEST_F(EventLoopTest, ATimerThatIsAddedByATimerFiresInALaterTurn) {
  int fired = 0;
  std::function<void()> again = [&] {
    ++fired;
    loop_->AddTimer(clock_.Now().monotonic, again);
  };
  again();
  Turn();
  EXPECT_EQ(fired, 2);
  Turn();
  EXPECT_EQ(fired, 3);
}

TEST_F(EventLoopTest, AFloodOfTimersDoesNotKeepInputWaiting) {
  Pipe pipe(loop_.get());
  int fired = 0;
  for (int i = 0; i < 1000; ++i) loop_->AddTimer(clock_.Now().monotonic, [&] { ++fired; });
  Turn();
  EXPECT_LT(fired, 1000);
  pipe.Fill();
  Turn();
  EXPECT_EQ(pipe.calls, 1);
  while (fired < 1000) Turn();
}

TEST_F(EventLoopTest, WakeEndsAWaitThatHasNotBegunYet) {
  loop_->Wake();
  loop_->RunOnce(absl::InfiniteDuration());  // the test's deadline ends it otherwise
}

TEST_F(EventLoopTest, CallsFunctionsThatOtherThreadsPostInTheirOrder) {
  std::vector<int> called;
  std::thread([&] {
    for (int i = 0; i < 3; ++i) loop_->Post([&called, i] { called.push_back(i); });
  }).join();
  EXPECT_THAT(called, ElementsAre());
  loop_->RunOnce(absl::InfiniteDuration());
  EXPECT_THAT(called, ElementsAre(0, 1, 2));
}

TEST_F(EventLoopTest, AFunctionPostedByAPostedFunctionRunsInALaterTurn) {
  int calls = 0;
  loop_->Post([&] { loop_->Post([&calls] { ++calls; }); });
  Turn();
  EXPECT_EQ(calls, 0);
  Turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, APostedFunctionIsNotCalledOnceItsLoopIsGone) {
  const auto held = std::make_shared<int>();
  loop_->Post([held] { ADD_FAILURE(); });
  loop_.reset();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(EventLoopTest, ModifyChangesTheEventsThatAreWatched) {
  Pipe pipe(loop_.get());
  pipe.Fill();
  loop_->Modify(pipe.fd(), 0);
  Turn();
  EXPECT_EQ(pipe.calls, 0);
  loop_->Modify(pipe.fd(), EPOLLIN);
  Turn();
  EXPECT_EQ(pipe.calls, 1);
}

TEST_F(EventLoopTest, WaitsNoLongerThanToTheNextTimer) {
  SystemClock clock;
  const auto loop = EventLoop::Create(&clock).value();
  bool fired = false;
  loop->AddTimer(clock.Now().monotonic + absl::Milliseconds(5), [&] { fired = true; });
  loop->RunOnce(absl::InfiniteDuration());
  EXPECT_TRUE(fired);
}

TEST_F(EventLoopTest, RefusesADescriptorThatCannotBePolled) {
  Pipe pipe(loop_.get());
  const absl::Status status = loop_->Add(987654, EPOLLIN, &pipe);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("987654"));
  loop_->Remove(987654);  // as a destructor does
}

}  // namespace
}  // namespace vmeventd
