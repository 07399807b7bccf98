// How runs end by what becomes of their processes.

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/restart_fixture.h"
#include "tests/watcher/runs/child.h"
#include "tests/watcher/runs/memory_cgroup.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;
using testing::Not;

class NodeWatcherExitTest : public RestartTest {
 protected:
  // SIGABRT stands for all crashes: the sanitizers take the other signals for themselves.
  // Follows a fake as "vm1".
  static void AwaitZombie(const FakeQemu& qemu) {
    siginfo_t info;
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(qemu.pid()), &info, WEXITED | WNOWAIT), 0);
  }
  void ExpectSignal(int signal) const {
    ASSERT_TRUE(Stopped().exit_status.has_value());
    EXPECT_EQ(Stopped().exit_status->signal, signal);
  }
};

TEST_F(NodeWatcherExitTest, AParentThatReapsAtOnce) {
  Follow(&qemu_);
  if (watcher_->exit_status_source() == "none") GTEST_SKIP() << "nothing reports reaped processes";
  qemu_.Kill(SIGABRT);
  qemu_.Reap();
  ExpectStopped(ShutdownClass::kCrash, "qemu-crashed");
  ExpectSignal(SIGABRT);
}

TEST_F(NodeWatcherExitTest, AnEndLongAfterTheMonitorWasLostIsNotJudgedByItsSilence) {
  const int monitor = Follow(&qemu_);
  WriteFile(ShutdownFile("vm1"));
  qemu_.CloseListener(monitor);
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(UntilCount(EventType::kMonitorLost, 1));
  qemu_.Exit();
  ExpectStopped(ShutdownClass::kUnknown, "unobserved");
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
}

TEST_F(NodeWatcherExitTest, AParentThatNeverReaps) {
  Follow(&qemu_);
  qemu_.Kill(SIGKILL);
  AwaitZombie(qemu_);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1)) << "a zombie is gone";
  ExpectStopped(ShutdownClass::kCrash, "qemu-killed");
  ExpectSignal(SIGKILL);
}

TEST_F(NodeWatcherExitTest, AParentThatReapsLateWhereItsZombieMayNotBeRead) {
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  if (watcher_->exit_status_source() != "pidfd") GTEST_SKIP() << "needs PIDFD_INFO_EXIT";
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu_.Kill(SIGABRT);
  AwaitZombie(qemu_);
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "its end waits for its status";
  qemu_.Reap();
  manual_clock_.Advance(absl::Milliseconds(1));
  Turn();
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(Stopped().cause, ShutdownCause::kQemuCrashed);
  ExpectSignal(SIGABRT);
}

TEST_F(NodeWatcherExitTest, AZombieThatMayNotBeReadIsNotWaitedForLong) {
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  if (watcher_->exit_status_source() == "none") GTEST_SKIP() << "then nothing is waited for";
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  const AsNobody nobody;
  if (!nobody.possible()) GTEST_SKIP() << "needs root";
  {
    // The fake is another user's, and may not be killed by this one.
    ASSERT_EQ(seteuid(0), 0);
    qemu_.Exit();
    AwaitZombie(qemu_);
    ASSERT_EQ(seteuid(65534), 0);
  }
  for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  const bool pidfd = watcher_->exit_status_source() == "pidfd";
  EXPECT_TRUE(!pidfd || sink_.Count(EventType::kStopped) == 0);
  for (int i = 0; i < 100; ++i) {
    manual_clock_.Advance(absl::Milliseconds(1));
    watcher_->RunOnce(absl::ZeroDuration());
  }
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  if (!pidfd) return;
  EXPECT_EQ(Stopped().cause, ShutdownCause::kProcessExited);
  EXPECT_FALSE(Stopped().exit_status.has_value()) << "0 was all that could be read";
  EXPECT_THAT(EvidenceText(), HasSubstr("exit status not known"));
}

TEST_F(NodeWatcherExitTest, AUsersShutdownFileDoesNotWaitForTheStatus) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  AwaitZombie(qemu_);
  ASSERT_TRUE(Until([&] { return FileExists(ShutdownFile("vm1")); }));
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().shutdown_class, ShutdownClass::kUser);
  ASSERT_TRUE(Stopped().exit_status.has_value());
  EXPECT_EQ(Stopped().exit_status->code, 0);
}

TEST_F(NodeWatcherExitTest, WithoutASourceAReapedProcessIsNotKnown) {
  options_.exit_status_source = ExitStatusSource::kNone;
  Follow(&qemu_);
  EXPECT_EQ(watcher_->exit_status_source(), "none");
  qemu_.KillAndReap();
  ExpectStopped(ShutdownClass::kCrash, "process-exited");
  EXPECT_FALSE(Stopped().exit_status.has_value());
}

TEST_F(NodeWatcherExitTest, TheProcessConnectorTellsOfAReapedProcess) {
  options_.exit_status_source = ExitStatusSource::kProcConnector;
  Follow(&qemu_);
  if (watcher_->exit_status_source() != "proc-connector") {
    GTEST_SKIP() << "needs CAP_NET_ADMIN and a kernel with CONFIG_PROC_EVENTS";
  }
  qemu_.Kill(SIGABRT);
  qemu_.Reap();
  ExpectStopped(ShutdownClass::kCrash, "qemu-crashed");
  ExpectSignal(SIGABRT);
  EXPECT_EQ(watcher_->counters().exit_statuses_lost, 0u);
}

TEST_F(NodeWatcherExitTest, HeldByAnotherToTheEndTheKernelTells) {
  qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  options_.greeting_timeout = absl::Milliseconds(20);
  StartUntilHeld();
  qemu_.Kill(SIGABRT);
  ExpectStopped(ShutdownClass::kCrash, "qemu-crashed");
}

TEST_F(NodeWatcherExitTest, AVmOfTwoSocketsEndsOnce) {
  Follow(&qemu_);
  qemu_.AddMonitor(Socket("vm2"));
  ASSERT_TRUE(Until([&] { return sink_.directories()[0].sockets == 2; }));
  for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  KillUntilStopped(&qemu_);
  for (int i = 0; i < 20; ++i) watcher_->RunOnce(absl::ZeroDuration());
  ExpectStopped(ShutdownClass::kCrash, "qemu-killed");
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(NodeWatcherExitTest, AZombieThatIsFoundAtAStartTellsItsStatus) {
  Follow(&qemu_);
  Die();
  qemu_.Kill(SIGABRT);
  AwaitZombie(qemu_);
  Restart();
  ExpectStopped(ShutdownClass::kCrash, "qemu-crashed");
  ExpectSignal(SIGABRT);
}

TEST_F(NodeWatcherExitTest, AZombieThatHasTheNumberByNowTellsNothing) {
  Follow(&qemu_);
  const std::string kept = WithNumber(KeptRun(), "start_ticks", "17");
  Die();
  qemu_.Kill(SIGABRT);
  AwaitZombie(qemu_);
  StartWith({kept});
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().shutdown_class, ShutdownClass::kUnknown);
  EXPECT_FALSE(Stopped().exit_status.has_value());
}

TEST_F(NodeWatcherExitTest, AFullDescriptorTableHidesNoExitStatus) {
  options_.exit_status_source = ExitStatusSource::kNone;  // the zombie's stat file is what is left
  options_.greeting_timeout = absl::Milliseconds(20);
  qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  StartUntilHeld();
  {
    const FullDescriptorTable full;
    qemu_.Kill(SIGABRT);
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  }
  ExpectStopped(ShutdownClass::kCrash, "qemu-crashed");
  ExpectSignal(SIGABRT);
}

TEST_F(NodeWatcherExitTest, ManyEndsAtOnceNeedNoTimer) {
  std::vector<std::unique_ptr<FakeQemu>> qemus;
  for (int i = 0; i < 20; ++i) {
    qemus.push_back(std::make_unique<FakeQemu>());
    qemus.back()->AddMonitor(Socket("vm" + std::to_string(i)));
  }
  StartWithManualClock();  // no timer fires
  ASSERT_TRUE(UntilCount(EventType::kStarted, 20));
  for (const auto& qemu : qemus) qemu->Kill(SIGKILL);
  for (const auto& qemu : qemus) qemu->Reap();
  if (watcher_->exit_status_source() == "proc-connector") GTEST_SKIP() << "its messages come later";
  ASSERT_TRUE(UntilCount(EventType::kStopped, 20));
}

// A process with a socket, where nobody answers, that takes memory on command.
int TakeMemory(const std::string& path, int go) {
  prctl(PR_SET_NAME, "qemu-fake");
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return 1;
  if (listen(listener, 1) != 0) return 1;
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

TEST_P(OomKillTest, IsPutDownToTheOneThatItWasOf) {
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
  EXPECT_EQ(Stopped().rule, "out-of-memory");
  EXPECT_EQ(Stopped().cause, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceText(), HasSubstr("OOM kill"));

  // What their common cgroup counts was not the other one's.
  if (GetParam()) {
    RestartUntilScanned();
  }
  kill(neighbour.pid(), SIGKILL);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(Stopped().rule, "qemu-killed");
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("OOM kill")));
  for (const auto& ends : go) {
    close(ends[0]);
    close(ends[1]);
  }
}

}  // namespace
}  // namespace vmeventd
