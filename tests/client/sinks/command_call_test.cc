#include "client/sinks/command_call.h"

#include <sys/stat.h>

#include <csignal>
#include <cstdint>
#include <sstream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

class EventCommandTest : public testing::Test {
 protected:
  absl::Status Run(const std::string& command, const std::string& input = "") {
    return RunCommandCall({command, {{"OUT", out()}, {"DIR", directory_.path()}}, input},
                          stop_.get_token(), absl::Milliseconds(10));
  }
  std::string out() const { return directory_ / "out"; }
  std::string Output() const { return e2e::ReadFile(out()); }

  TemporaryDirectory directory_;
  std::stop_source stop_;
};

TEST_F(EventCommandTest, ReadsItsInputAndItsVariables) {
  EXPECT_TRUE(Run("cat > \"$OUT\"", "{\"a\": 1}\n").ok());
  EXPECT_EQ(Output(), "{\"a\": 1}\n");
}

TEST_F(EventCommandTest, ACommandMayIgnoreALargeInput) {
  EXPECT_TRUE(Run("exec <&-; echo done > \"$OUT\"", std::string(1 << 20, 'x')).ok());
  EXPECT_EQ(Output(), "done\n");
}

TEST_F(EventCommandTest, ReportsHowTheCommandFailed) {
  EXPECT_EQ(Run("exit 3").message(), "ended with exit code 3");
  EXPECT_EQ(Run("kill -9 $$").message(), "was killed by SIGKILL");
  EXPECT_EQ(Run("no-such-program-here 2>/dev/null").message(), "ended with exit code 127");
}

TEST_F(EventCommandTest, AnEnvironmentThatIsTooLargeIsAFailure) {
  EXPECT_THAT(
      RunCommandCall({"true", {{"HUGE", std::string(1 << 18, 'x')}}, ""}, stop_.get_token()),
      FailsAs(absl::IsUnavailable, "Argument list too long"));
}

TEST_F(EventCommandTest, StartsWithUnblockedSignalsAndADefaultSigpipe) {
  signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  EXPECT_TRUE(Run("sed -nE 's/^Sig(Blk|Ign):.//p' /proc/self/status > \"$OUT\"").ok());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  std::istringstream masks(Output());
  uint64_t blocked_mask = 1;
  uint64_t ignored_mask = 1ULL << (SIGPIPE - 1);
  masks >> std::hex >> blocked_mask >> ignored_mask;
  EXPECT_EQ(blocked_mask, 0U);
  EXPECT_EQ(ignored_mask & (1ULL << (SIGPIPE - 1)), 0U);
}

// A group in the background of a terminal would be stopped for ever when it reads from there.
TEST_F(EventCommandTest, RunsInItsOwnSessionWithoutATerminal) {
  EXPECT_TRUE(Run("set -- $(cat /proc/$$/stat); echo $(($1 - $6)) $7 > \"$OUT\"").ok());
  EXPECT_EQ(Output(), "0 0\n");
}

// Stops the command once it has written to the FIFO.
class EventCommandStopTest : public EventCommandTest {
 protected:
  absl::Status RunUntilItWrites(const std::string& command) {
    EXPECT_EQ(mkfifo(out().c_str(), 0600), 0);
    std::thread stopper([this] {
      Output();
      stop_.request_stop();
    });
    absl::Status status = Run(command);
    stopper.join();
    return status;
  }
};

TEST_F(EventCommandStopTest, AStopEndsAllThatItStarted) {
  EXPECT_TRUE(absl::IsCancelled(RunUntilItWrites("echo started > \"$OUT\"; sleep 1000; true")));
}

TEST_F(EventCommandStopTest, AStopKillsACommandThatIgnoresIt) {
  EXPECT_TRUE(absl::IsCancelled(
      RunUntilItWrites("trap '' TERM; echo started > \"$OUT\"; while :; do sleep 0.01; done")));
}

TEST_F(EventCommandStopTest, AStopEndsASuspendedCommand) {
  EXPECT_TRUE(absl::IsCancelled(RunUntilItWrites("echo started > \"$OUT\"; kill -STOP $$")));
}

}  // namespace
}  // namespace vmeventd::client
