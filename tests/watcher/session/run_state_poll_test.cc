// When a QEMU is asked for its run state, and when its answer is late.

#include "watcher/session/run_state_poll.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/session/command_pacer.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kNoQuestion = absl::InfiniteDuration();
constexpr absl::Duration kHangCheck = absl::Minutes(1);

class RunStatePollTest : public testing::Test {
 protected:
  // The waits until each of the next `count` questions, each of which is answered at once.
  std::vector<int64_t> MillisecondsBetween(int count, absl::string_view answer) {
    std::vector<int64_t> waits;
    for (int i = 0; i < count; ++i) {
      waits.push_back(absl::ToInt64Milliseconds(poll_.NextAt() - now_));
      now_ = poll_.NextAt();
      EXPECT_FALSE(poll_.TakeQuestion(false, now_ - absl::Nanoseconds(1)));
      EXPECT_TRUE(poll_.TakeQuestion(false, now_));
      poll_.OnAnswer(answer, now_);
    }
    return waits;
  }

  absl::Duration now_ = absl::Seconds(1000);
  RunStatePoll poll_{kNoQuestion, /*asks=*/true};
};

TEST_F(RunStatePollTest, AQemuWhoseVmRunsIsNotAsked) {
  EXPECT_EQ(poll_.NextAt(), kNoQuestion);
  poll_.OnAttach("running", now_);
  EXPECT_EQ(poll_.NextAt(), kNoQuestion);
}

TEST_F(RunStatePollTest, AQemuWhoseVmRunsIsAskedAtTheIntervalOfTheHangCheck) {
  poll_ = RunStatePoll(kHangCheck, true);
  poll_.OnAttach("running", now_);
  EXPECT_THAT(MillisecondsBetween(3, "suspended"), ElementsAre(60'000, 60'000, 60'000));
}

TEST_F(RunStatePollTest, AQemuWhoseVmIsPausedIsAskedWithGrowingPauses) {
  poll_.OnAttach("paused", now_);
  EXPECT_THAT(MillisecondsBetween(8, "paused"),
              ElementsAre(1000, 2000, 4000, 8000, 16'000, 30'000, 30'000, 30'000));
}

TEST_F(RunStatePollTest, AMigrationThatFinishesIsFollowedClosely) {
  poll_.AskSoon(now_);
  EXPECT_THAT(MillisecondsBetween(6, "finish-migrate"), ElementsAre(10, 10, 20, 40, 80, 100));
  // The migration has failed, and the VM is still paused.
  poll_.OnAnswer("paused", now_);
  EXPECT_THAT(MillisecondsBetween(2, "paused"), ElementsAre(1000, 2000));
}

TEST_F(RunStatePollTest, AVmThatHasMigratedOrIsDownIsNotAsked) {
  for (const char* state : {"postmigrate", "shutdown", "guest-panicked"}) {
    poll_.OnAttach("paused", now_);
    poll_.OnAnswer(state, now_);
    EXPECT_EQ(poll_.NextAt(), kNoQuestion) << state;
  }
}

TEST_F(RunStatePollTest, AQuestionWaitsUntilQemuIsQuiet) {
  poll_.AskSoon(now_);
  EXPECT_EQ(poll_.NextAt(), now_ + CommandPacer::kQuietTime);
}

TEST_F(RunStatePollTest, AQemuThatMayBeEndingIsAskedLater) {
  poll_ = RunStatePoll(kHangCheck, true);
  poll_.AskSoon(now_);
  now_ += absl::Seconds(1);
  EXPECT_FALSE(poll_.TakeQuestion(/*may_be_ending=*/true, now_));
  EXPECT_EQ(poll_.NextAt(), now_ + kHangCheck);
}

TEST_F(RunStatePollTest, TheQemuOfAManagerIsNotAsked) {
  poll_ = RunStatePoll(kHangCheck, /*asks=*/false);
  poll_.OnAttach("paused", now_);
  poll_.AskSoon(now_);
  poll_.AskLater(now_);
  EXPECT_EQ(poll_.NextAt(), kNoQuestion);
}

TEST_F(RunStatePollTest, RepeatedQuestionsDoNotExtendTheDeadlineOfTheFirst) {
  poll_ = RunStatePoll(kHangCheck, true);
  poll_.AskLater(now_);
  now_ += kHangCheck;
  const absl::Duration due = now_ + RunStatePoll::kAnswerTime;
  while (now_ < due) {
    EXPECT_FALSE(poll_.TakeLateness(now_));
    EXPECT_TRUE(poll_.TakeQuestion(false, now_));  // again, should no answer come
    now_ = poll_.NextAt();
  }
  EXPECT_EQ(now_, due);
  EXPECT_TRUE(poll_.IsLate(due));
  EXPECT_TRUE(poll_.TakeLateness(due));
  EXPECT_FALSE(poll_.TakeLateness(due));
}

TEST_F(RunStatePollTest, WithoutAHangCheckNoAnswerIsLate) {
  poll_.OnAttach("paused", now_);
  for (int i = 0; i < 100; ++i) {
    now_ = poll_.NextAt();
    EXPECT_FALSE(poll_.IsLate(now_));
    EXPECT_TRUE(poll_.TakeQuestion(false, now_));
  }
}

TEST_F(RunStatePollTest, NoDeadlineRunsAfterAnAnswerOrAnEnd) {
  for (const bool answers : {true, false}) {
    poll_ = RunStatePoll(kHangCheck, true);
    poll_.AskSoon(now_);
    now_ = poll_.NextAt();
    EXPECT_TRUE(poll_.TakeQuestion(false, now_));
    if (answers) {
      poll_.OnAnswer("postmigrate", now_);
    } else {
      poll_.Stop();
    }
    EXPECT_EQ(poll_.NextAt(), kNoQuestion);
  }
}

}  // namespace
}  // namespace vmeventd
