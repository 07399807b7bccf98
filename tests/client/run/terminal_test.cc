#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/run/pager.h"
#include "client/run/run.h"
#include "client/run/stop_signals.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/files.h"
#include "tests/support/server_messages.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace vmeventd::client {
namespace {

// Sets the signals as a shell with job control does, whatever the caller of the tests ignores.
void TakeSignalsByDefault() {
  for (const int one : {SIGINT, SIGTERM, SIGHUP}) signal(one, SIG_DFL);
}

// Runs in its own process for each signal, because threads left by other tests could take it.
void ExitZeroWhenStoppedBy(int signal) {
  TakeSignalsByDefault();
  StopSource& stop = StopBySignals(open("/dev/null", O_WRONLY | O_CLOEXEC));
  kill(getpid(), signal);
  _exit(stop.WaitFor(e2e::Patience()) ? 0 : 1);
}

class StopSignalsTest : public testing::TestWithParam<int> {};

TEST_P(StopSignalsTest, ASignalStopsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ExitZeroWhenStoppedBy(GetParam()), testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(EachSignal, StopSignalsTest, testing::Values(SIGINT, SIGTERM, SIGHUP));

void LeaveAnIgnoredSignalAlone() {
  TakeSignalsByDefault();
  signal(SIGHUP, SIG_IGN);
  StopBySignals(open("/dev/null", O_WRONLY | O_CLOEXEC));
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  _exit(sigismember(&blocked, SIGHUP) == 0 && sigismember(&blocked, SIGTERM) == 1 ? 0 : 1);
}

// nohup(1) starts programs like this.
TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(LeaveAnIgnoredSignalAlone(), testing::ExitedWithCode(0), "");
}

// Sends SIGINT until it ends the process.
void InterruptUntilTheEnd(StopSource* stop) {
  if (!stop->WaitFor(e2e::Patience())) _exit(1);
  StopSource never;
  for (const absl::Time end = absl::Now() + e2e::Patience(); absl::Now() < end;) {
    kill(getpid(), SIGINT);
    never.WaitFor(absl::Milliseconds(50));
  }
  _exit(1);
}

void TakeASignalTwice() {
  TakeSignalsByDefault();
  StopSource& stop = StopBySignals(open("/dev/null", O_WRONLY | O_CLOEXEC));
  kill(getpid(), SIGINT);
  InterruptUntilTheEnd(&stop);
}

TEST(StopSignals, ASecondSignalEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(TakeASignalTwice(), testing::KilledBySignal(SIGINT), "");
}

// timeout(1) signals the process, and its group at once.
void TakeSignalsThatComeTogether() {
  TakeSignalsByDefault();
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, SIGINT);
  sigaddset(&both, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &both, nullptr);
  kill(getpid(), SIGINT);
  kill(getpid(), SIGTERM);
  InterruptUntilTheEnd(&StopBySignals(open("/dev/null", O_WRONLY | O_CLOEXEC)));
}

TEST(StopSignals, SignalsThatArriveTogetherCountAsOne) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(TakeSignalsThatComeTogether(), testing::KilledBySignal(SIGINT), "");
}

// Run in processes of their own, because each stops for good.
void StopOnceTheReaderHasGone() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) _exit(1);
  StopSource& stop = StopBySignals(ends[1]);
  const bool early = stop.stopped();
  close(ends[0]);
  _exit(!early && stop.WaitFor(e2e::Patience()) ? 0 : 1);
}

void StopByAKey() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) _exit(1);
  StopSource& stop = StopBySignals(-1, ends[0]);
  const bool typed = write(ends[1], "xq", 2) == 2;
  _exit(typed && stop.WaitFor(e2e::Patience()) ? 0 : 1);
}

TEST(StopSignals, TheWatchEndsWhenItsOutputIsClosedOrQIsPressed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(StopOnceTheReaderHasGone(), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(StopByAKey(), testing::ExitedWithCode(0), "");
}

// Watches like `vmevents watch -n 5 | true`.
void WatchForNobody(const ServerAddress& server) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[1], STDOUT_FILENO) < 0) _exit(1);
  close(ends[0]);
  const OptionContext context = {.now = absl::Now(), .zone = absl::UTCTimeZone()};
  _exit(static_cast<int>(Run({"--server", ToText(server), "watch", "-n", "5"}, context)));
}

TEST(Watch, EndsQuietlyBeforeItsCountOnceTheReaderHasGone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  FakeServer server;
  server.Start();
  server.service().streams.push_back({{ProgressMessage(10)}, grpc::Status::OK, true});
  EXPECT_EXIT(WatchForNobody(server.address()), testing::ExitedWithCode(0), "^$");
}

// Gives a text to what StartPager() starts; returns its exit status. SIGINT reaches both, as by
// Ctrl-C.
int Page() {
  FILE* const pager = StartPager();
  EXPECT_NE(pager, nullptr);
  EXPECT_EQ(raise(SIGINT), 0);
  const bool written = write(fileno(pager), "text", 4) == 4;
  const int status = pclose(pager);
  signal(SIGINT, SIG_DFL);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_TRUE(written || WEXITSTATUS(status) == 127) << "one that could not be started may be gone";
  return WEXITSTATUS(status);
}

TEST(Pager, IsTakenFromTheFirstVariableSetAndSurvivesAnInterrupt) {
  const TemporaryDirectory directory;
  const auto file = [&directory](const std::string& name) { return directory / name; };
  setenv("PAGER", ("trap : INT; kill -INT $$; cat > " + file("pager")).c_str(), 1);
  EXPECT_EQ(Page(), 0);
  setenv("VMEVENTS_PAGER", ("{ cat; echo \" $LESS\"; } > '" + file("own") + "'").c_str(), 1);
  EXPECT_EQ(Page(), 0);
  EXPECT_EQ(e2e::ReadFile(file("pager")), "text");
  EXPECT_EQ(e2e::ReadFile(file("own")), "text FRSXMK\n");
  setenv("VMEVENTS_PAGER", "/nowhere/pager 2>/dev/null", 1);
  EXPECT_EQ(Page(), 127);
  setenv("VMEVENTS_PAGER", "", 1);
  testing::internal::CaptureStdout();
  EXPECT_EQ(Page(), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "text") << "by cat";
  unsetenv("VMEVENTS_PAGER");
  unsetenv("PAGER");
}

}  // namespace
}  // namespace vmeventd::client
