// How runs end by what becomes of their processes.

#include <sys/mman.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/node/restart_test.h"
#include "tests/watcher/runs/as_nobody.h"
#include "tests/watcher/runs/child.h"
#include "tests/watcher/runs/memory_cgroup.h"
#include "watcher/runs/exit_status_reader.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;
using testing::Not;

class NodeWatcherExitTest : public RestartTest {
 protected:
  // SIGABRT stands for all crashes: the sanitizers take the other signals for themselves.
  void ExpectSignal(int signal) const { EXPECT_EQ(Stopped().exit_signal().number(), signal); }
};

TEST_F(NodeWatcherExitTest, TheEndOfAnUnreadableZombieWaitsUntilItsParentReapsIt) {
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  FollowWithManualClock();
  qemu_.Kill(SIGABRT);
  AwaitEnd(qemu_.pid());
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  Turns();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "its end waits for its status";
  for (int i = 0; i < 16; ++i) {
    manual_clock_.Advance(absl::Milliseconds(50));
    Turn();
  }
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "its parent is busy";
  qemu_.Reap();
  manual_clock_.Advance(absl::Milliseconds(50));
  Turn();
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(Stopped().cause(), ShutdownCause::kQemuCrashed);
  ExpectSignal(SIGABRT);
}

TEST_F(NodeWatcherExitTest, ItsDescriptionNamesPidfdsAsTheSourceOfExitStatuses) {
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  options_.exit_status_source = ExitStatusSource::kPidfd;
  Start();
  EXPECT_EQ(watcher_->Describe().exit_status_source(), v1::EXIT_STATUS_SOURCE_PIDFD);
}

TEST_F(NodeWatcherExitTest, ItsDescriptionNamesTheProcConnectorAsTheSourceOfExitStatuses) {
  if (const std::string why = WhyNoProcConnector(); !why.empty()) GTEST_SKIP() << why;
  options_.exit_status_source = ExitStatusSource::kProcConnector;
  Start();
  EXPECT_EQ(watcher_->Describe().exit_status_source(), v1::EXIT_STATUS_SOURCE_PROC_CONNECTOR);
}

TEST_F(NodeWatcherExitTest, AnIntentDuringAPendingEndIsPublishedAsLate) {
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  FollowWithManualClock();
  const std::string run_id = RunId("vm1");
  qemu_.Kill(SIGABRT);
  AwaitEnd(qemu_.pid());
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  Turns();
  IntentRequest request{.vm_name = "vm1", .actor = "nova", .reason = "power off"};
  request.started_before = absl::Now() + absl::Hours(1);
  watcher_->DeclareIntent(request, [](const absl::StatusOr<v1::Intent>&) {});
  Turn();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  ASSERT_EQ(sink_.Count(EventType::kIntentLate), 1);
  EXPECT_EQ(sink_.entries().back().update.event->vm().run_id(), run_id);
}

TEST_F(NodeWatcherExitTest, AZombieThatMayNotBeReadIsNotWaitedForLong) {
  if (const std::string why = WhyNoExitStatus(); !why.empty()) GTEST_SKIP() << why;
  const bool pidfd = WhyNoPidfdExitStatus().empty();
  FollowWithManualClock();
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  {
    // The fake is another user's, and may not be killed by this one.
    ASSERT_EQ(seteuid(0), 0);
    qemu_.Exit();
    AwaitEnd(qemu_.pid());
    ASSERT_EQ(seteuid(65534), 0);
  }
  Turns();
  EXPECT_TRUE(!pidfd || sink_.Count(EventType::kStopped) == 0);
  const auto wait = [&](absl::Duration time) {
    constexpr absl::Duration kStep = absl::Milliseconds(1);
    for (absl::Duration waited; waited < time; waited += kStep) {
      manual_clock_.Advance(kStep);
      watcher_->RunOnce(absl::ZeroDuration());
    }
  };
  wait(absl::Milliseconds(100));
  if (pidfd) {
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "a busy init reaps late";
    wait(absl::Milliseconds(800));
  }
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  if (!pidfd) return;
  EXPECT_EQ(Stopped().cause(), ShutdownCause::kProcessExited);
  EXPECT_TRUE(Stopped().exit_unknown()) << "0 was all that could be read";
  EXPECT_THAT(EvidenceText(), HasSubstr("exit status not known: its parent has not reaped it"));
}

TEST_F(NodeWatcherExitTest, WithoutASourceTheExitStatusOfAReapedProcessIsUnknown) {
  options_.exit_status_source = ExitStatusSource::kNone;
  Follow(&qemu_);
  EXPECT_EQ(watcher_->Describe().exit_status_source(), v1::EXIT_STATUS_SOURCE_NONE);
  qemu_.KillAndReap();
  ExpectStopped(ShutdownClass::kUnknown, "process-exited");
  EXPECT_EQ(Stopped().cause(), ShutdownCause::kProcessExited);
  EXPECT_TRUE(Stopped().exit_unknown());
}

TEST_F(NodeWatcherExitTest, AZombieThatIsFoundAtAStartHasItsStatusButNoSender) {
  int ends = 0;
  for (const int signal : {SIGABRT, SIGKILL, SIGRTMAX}) {
    FakeQemu qemu;
    qemu.AddMonitor(Socket(std::to_string(signal)));
    Start();
    ASSERT_TRUE(UntilState(std::to_string(signal), VmState::kRunning));
    Die();
    qemu.Kill(signal);
    AwaitEnd(qemu.pid());
    Restart();
    ASSERT_TRUE(UntilCount(EventType::kStopped, ++ends));
    EXPECT_EQ(Stopped().rule(), signal == SIGKILL ? "killed-unseen" : "qemu-crashed");
    ExpectSignal(signal);
    Die();
  }
}

TEST_F(NodeWatcherExitTest, ManyEndsAtOnceNeedNoTimer) {
  // The process connector's messages come later.
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  std::vector<std::unique_ptr<FakeQemu>> qemus;
  for (int i = 0; i < 20; ++i) {
    qemus.push_back(std::make_unique<FakeQemu>());
    qemus.back()->AddMonitor(Socket("vm" + std::to_string(i)));
  }
  StartWithManualClock();  // no timer fires
  ASSERT_TRUE(UntilCount(EventType::kStarted, 20));
  for (const auto& qemu : qemus) qemu->Kill(SIGKILL);
  for (const auto& qemu : qemus) qemu->Reap();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 20));
}

// A process with a socket, where nobody answers, that takes memory on command.
int TakeMemory(const std::string& path, int go) {
  prctl(PR_SET_NAME, "qemu-system-x86");
  e2e::ListenUnix(path);
  char byte;
  if (read(go, &byte, 1) != 1) return 1;
  constexpr size_t kBytes = 256 << 20;
  void* const memory =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memset(memory, 1, kBytes);
  return 2;
}

class OomKillTest : public NodeWatcherExitTest, public testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(Daemons, OomKillTest, testing::Bool(), [](const auto& test) {
  return test.param ? "ADaemonThatWasStartedAgain" : "TheSameDaemon";
});

TEST_P(OomKillTest, IsAttributedToItsVictim) {
  const MemoryCgroup cgroup(32 << 20);
  if (!cgroup.made()) GTEST_SKIP() << "needs a cgroup with a memory controller";
  int go[2][2];
  ASSERT_EQ(pipe(go[0]), 0);
  ASSERT_EQ(pipe(go[1]), 0);
  Child hungry([&] { return TakeMemory(Socket("hungry"), go[0][0]); });
  Child neighbour([&] { return TakeMemory(Socket("neighbour"), go[1][0]); });
  ASSERT_TRUE(cgroup.Add(hungry.pid()));
  ASSERT_TRUE(cgroup.Add(neighbour.pid()));
  options_.greeting_timeout = absl::Milliseconds(20);
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ASSERT_EQ(write(go[0][1], "x", 1), 1);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().rule(), "out-of-memory");
  EXPECT_EQ(Stopped().cause(), ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceText(), HasSubstr("OOM kill"));

  // The OOM kill that their common cgroup counts was not that of the other one.
  if (GetParam()) {
    RestartUntilScanned();
  }
  kill(neighbour.pid(), SIGKILL);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(Stopped().rule(), "never-greeted");
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("OOM kill")));
  for (const auto& ends : go) {
    close(ends[0]);
    close(ends[1]);
  }
}

}  // namespace
}  // namespace vmeventd
