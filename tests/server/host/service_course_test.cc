#include "server/host/service_course.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/host/service.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kBegin = absl::Hours(1);
constexpr absl::Duration kSecond = absl::Seconds(1);
constexpr absl::Duration kLimit = absl::Seconds(30);
constexpr absl::Duration kNoWatchdog = absl::InfiniteDuration();

void AnswerAll(ServiceCourse* course) {
  course->OnWatcherTurn();
  course->OnPumpTurn();
  course->OnAcceptorTurn();
}

// Does `turns` turns, a second apart, from `*now`, which moves on.
template <typename OnTurn>
void Play(ServiceCourse* course, int turns, absl::Duration* now, bool scanned, OnTurn on_turn) {
  for (int turn = 0; turn < turns; ++turn, *now += kSecond) {
    on_turn(course->Turn(*now, scanned));
  }
}

TEST(ServiceCourse, TheFirstTurnIsDueAtOnce) {
  EXPECT_LE(ServiceCourse(kLimit).TimeToTurn(), absl::ZeroDuration());
}

TEST(ServiceCourse, TheFirstScanBeginsServingAndMakesTheDaemonReadyOnce) {
  ServiceCourse course(kLimit);
  EXPECT_FALSE(course.Turn(kBegin, /*scanned=*/false).notify_ready);
  EXPECT_FALSE(course.serving());
  const ServiceCourse::Actions actions = course.Turn(kBegin + absl::Milliseconds(3), true);
  EXPECT_TRUE(actions.begin_serving);
  EXPECT_TRUE(actions.notify_ready);
  EXPECT_TRUE(course.serving());
  const ServiceCourse::Actions next = course.Turn(kBegin + kSecond, true);
  EXPECT_FALSE(next.begin_serving);
  EXPECT_FALSE(next.notify_ready);
}

TEST(ServiceCourse, TheDaemonIsReadyInTimeThoughTheFirstScanIsNotDone) {
  ServiceCourse course(kLimit);
  course.Turn(kBegin, /*scanned=*/false);
  EXPECT_FALSE(course.Turn(kBegin + kSecond, false).notify_ready);
  EXPECT_EQ(course.TimeToTurn(), kReadyTimeout - kSecond);
  EXPECT_TRUE(course.Turn(kBegin + kReadyTimeout, false).notify_ready);
  EXPECT_FALSE(course.serving());
  const ServiceCourse::Actions scanned = course.Turn(kBegin + kReadyTimeout, true);
  EXPECT_TRUE(scanned.begin_serving);
  EXPECT_FALSE(scanned.notify_ready);
}

TEST(ServiceCourse, TheManagerLearnsThatTheDaemonIsAliveOnlyOnceItIsReady) {
  ServiceCourse course(kLimit);
  EXPECT_FALSE(course.Turn(kBegin, /*scanned=*/false).notify_alive);
  EXPECT_FALSE(course.Turn(kBegin + kSecond, false).notify_alive);
  EXPECT_TRUE(course.Turn(kBegin + kReadyTimeout, false).notify_alive);
}

TEST(ServiceCourse, TheDaemonIsAliveWhileEveryThreadOfTheWatchdogAnswers) {
  for (const int silent : {0, 1, 2, 3}) {
    ServiceCourse course(kLimit);
    EXPECT_TRUE(course.Turn(kBegin, /*scanned=*/true).notify_alive);
    if (silent != 0) course.OnWatcherTurn();
    if (silent != 1) course.OnPumpTurn();
    if (silent != 2) course.OnAcceptorTurn();
    EXPECT_EQ(course.Turn(kBegin + kSecond, true).notify_alive, silent == 3) << silent;
    AnswerAll(&course);
    EXPECT_TRUE(course.Turn(kBegin + 2 * kSecond, true).notify_alive) << silent;
  }
}

TEST(ServiceCourse, WithoutAWatchdogTheManagerIsNotifiedOfTheStartOnly) {
  ServiceCourse course(kNoWatchdog);
  EXPECT_TRUE(course.Turn(kBegin, /*scanned=*/true).notify_ready);
  absl::Duration now = kBegin + kSecond;
  Play(&course, 10, &now, true, [&](const ServiceCourse::Actions& actions) {
    EXPECT_FALSE(actions.notify_ready || actions.notify_alive);
    AnswerAll(&course);
  });
}

TEST(ServiceCourse, TheWatcherIsWokenOnceASecond) {
  ServiceCourse course(kNoWatchdog);
  EXPECT_TRUE(course.Turn(kBegin, /*scanned=*/true).wake_watcher);
  EXPECT_EQ(course.TimeToTurn(), kSecond);
  EXPECT_FALSE(course.Turn(kBegin + kSecond / 2, true).wake_watcher);
  EXPECT_EQ(course.TimeToTurn(), kSecond / 2);
  EXPECT_TRUE(course.Turn(kBegin + kSecond, true).wake_watcher);
}

TEST(ServiceCourse, AWatcherThatLeavesFiveQuestionsUnansweredIsSilentUntilItResponds) {
  ServiceCourse course(kNoWatchdog);
  absl::Duration now = kBegin;
  Play(&course, Pulse::kQuestions, &now, true,
       [](const ServiceCourse::Actions& actions) { EXPECT_FALSE(actions.watcher_fell_silent); });
  const ServiceCourse::Actions fifth = course.Turn(now, true);
  EXPECT_TRUE(fifth.watcher_fell_silent);
  EXPECT_TRUE(fifth.wake_watcher);
  now += kSecond;
  Play(&course, 3, &now, true, [](const ServiceCourse::Actions& actions) {
    EXPECT_FALSE(actions.watcher_fell_silent || actions.watcher_responds_again);
  });
  course.OnWatcherTurn();
  EXPECT_TRUE(course.Turn(now, true).watcher_responds_again);
  EXPECT_FALSE(course.Turn(now + kSecond, true).watcher_responds_again);
}

TEST(ServiceCourse, AWatcherThatAnswersInTheEndIsNotSilent) {
  ServiceCourse course(kNoWatchdog);
  absl::Duration now = kBegin;
  for (int round = 0; round < 3; ++round) {
    Play(&course, Pulse::kQuestions, &now, true,
         [](const ServiceCourse::Actions& actions) { EXPECT_FALSE(actions.watcher_fell_silent); });
    course.OnWatcherTurn();
  }
}

TEST(ServiceCourse, MemoryIsTrimmedOnceSomeTimeAfterTheFirstScan) {
  ServiceCourse course(kNoWatchdog);
  course.Turn(kBegin, /*scanned=*/false);
  EXPECT_FALSE(course.Turn(kBegin + absl::Minutes(1), false).trim_memory);
  const absl::Duration scanned = kBegin + absl::Minutes(2);
  EXPECT_FALSE(course.Turn(scanned, true).trim_memory);
  const absl::Duration due = scanned + ServiceCourse::kSettleTime;
  EXPECT_FALSE(course.Turn(due - absl::Milliseconds(1), true).trim_memory);
  EXPECT_EQ(course.TimeToTurn(), absl::Milliseconds(1));
  EXPECT_TRUE(course.Turn(due, true).trim_memory);
  EXPECT_FALSE(course.Turn(due + absl::Hours(1), true).trim_memory);
}

}  // namespace
}  // namespace vmeventd
