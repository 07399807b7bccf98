#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "client/run/terminal.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kDeadline = absl::Seconds(60);

// As of a shell with job control, whatever runs the tests ignores.
void TakeSignalsByDefault() {
  for (const int one : {SIGINT, SIGTERM, SIGHUP}) signal(one, SIG_DFL);
}

// Runs in its own process for each signal, because threads left by other tests could take it.
void ExitZeroWhenStoppedBy(int signal) {
  TakeSignalsByDefault();
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, open("/dev/null", O_WRONLY | O_CLOEXEC));
  kill(getpid(), signal);
  _exit(signals.ok() && stop.WaitFor(kDeadline) ? 0 : 1);
}

class StopSignalsTest : public testing::TestWithParam<int> {};

TEST_P(StopSignalsTest, ASignalStops) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ExitZeroWhenStoppedBy(GetParam()), testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(EachSignal, StopSignalsTest, testing::Values(SIGINT, SIGTERM, SIGHUP));

void LeaveAnIgnoredSignalAlone() {
  TakeSignalsByDefault();
  signal(SIGHUP, SIG_IGN);
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, open("/dev/null", O_WRONLY | O_CLOEXEC));
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  _exit(signals.ok() && sigismember(&blocked, SIGHUP) == 0 && sigismember(&blocked, SIGTERM) == 1
            ? 0
            : 1);
}

// As under nohup(1).
TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(LeaveAnIgnoredSignalAlone(), testing::ExitedWithCode(0), "");
}

void TakeASignalTwice() {
  TakeSignalsByDefault();
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, open("/dev/null", O_WRONLY | O_CLOEXEC));
  kill(getpid(), SIGINT);
  if (!signals.ok() || !stop.WaitFor(kDeadline)) _exit(1);
  kill(getpid(), SIGINT);
  StopSource never;
  never.WaitFor(kDeadline);
  _exit(1);
}

TEST(StopSignals, ASecondSignalEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(TakeASignalTwice(), testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignals, StopsWhenTheReaderOfTheOutputHasGone) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, ends[1]);
  ASSERT_TRUE(signals.ok());
  EXPECT_FALSE(stop.stopped());
  close(ends[0]);
  EXPECT_TRUE(stop.WaitFor(kDeadline));
  close(ends[1]);
}

TEST(StopSignals, EndsWithoutStopping) {
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, open("/dev/null", O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(signals.ok());
}

}  // namespace
}  // namespace vmeventd::client
