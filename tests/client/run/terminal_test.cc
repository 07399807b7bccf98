#include "client/run/terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kDeadline = e2e::kPatience;

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

TEST(PagerCommand, IsTheFirstThatIsSetAndMayBeNone) {
  unsetenv("VMEVENTS_PAGER");
  unsetenv("PAGER");
  EXPECT_THAT(PagerCommand(), testing::HasSubstr("less -FRSXMK; exec cat"));
  setenv("PAGER", "most", 1);
  EXPECT_EQ(PagerCommand(), "most");
  setenv("VMEVENTS_PAGER", "more -x", 1);
  EXPECT_EQ(PagerCommand(), "more -x");
  for (const char* none : {"", " cat "}) {
    setenv("VMEVENTS_PAGER", none, 1);
    EXPECT_EQ(PagerCommand(), "");
  }
  unsetenv("VMEVENTS_PAGER");
  unsetenv("PAGER");
}

TEST(Pager, SaysThatItCannotBeRun) {
  const auto missing = Pager::Start("/nowhere/pager");
  ASSERT_NE(missing, nullptr);
  EXPECT_FALSE(missing->Wait());
  const auto fails = Pager::Start("exit 1");
  ASSERT_NE(fails, nullptr);
  EXPECT_TRUE(fails->Wait());
}

// Ctrl-C reaches both; the pager may continue.
TEST(Pager, GetsWhatIsWrittenAndIsWaitedForThroughAnInterrupt) {
  const TemporaryDirectory directory;
  const std::string out = directory / "out";
  const auto pager = Pager::Start("trap : INT; kill -INT $$; cat > " + out);
  ASSERT_NE(pager, nullptr);
  EXPECT_EQ(raise(SIGINT), 0);
  EXPECT_EQ(write(pager->descriptor(), "text", 4), 4);
  EXPECT_TRUE(pager->Wait());
  EXPECT_EQ(e2e::ReadFile(out), "text");
}

}  // namespace
}  // namespace vmeventd::client
