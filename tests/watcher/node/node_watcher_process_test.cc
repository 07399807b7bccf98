// A run is one process, by whatever sockets it is reached, and QEMU is the process that answers.

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/files.h"
#include "tests/support/qmp_lines.h"
#include "tests/watcher/node/restart_test.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

class NodeWatcherProcessTest : public RestartTest {
 protected:
  void Rename(const std::string& from, const std::string& to) {
    ASSERT_EQ(std::rename(Socket(from).c_str(), Socket(to).c_str()), 0);
  }
};

// A launcher may listen, accept a connection, pass its socket to a QEMU and end.
TEST_F(NodeWatcherProcessTest, TheEndOfAListenerThatNeverSentIsNoEndOfTheVm) {
  qemu_.Rename("libvirtd");
  const int monitor = qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  Start();
  ASSERT_TRUE(Until([&] { return qemu_.HasClient(monitor); }));
  const pid_t real = qemu_.HandOver();
  AwaitEnd(qemu_.pid());
  Turns();
  qemu_.Send(monitor, FakeMonitor().greeting);
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_EQ(sink_.Latest("vm1")->ref().pid(), real);
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted));
  // From now on the run has that process: a closed monitor does not end it, the end of the process
  // does.
  qemu_.SetBehavior(monitor, {});
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  kill(real, SIGKILL);
  ExpectEnd(ShutdownClass::kUnknown);
}

TEST_F(NodeWatcherProcessTest, AQemuWhoseListenerHasEndedIsFollowed) {
  qemu_.AddMonitor(Socket("vm1"));
  const pid_t real = qemu_.HandOver();
  AwaitEnd(qemu_.pid());
  StartUntilRunning();
  EXPECT_EQ(sink_.Latest("vm1")->ref().pid(), real);
  qemu_.SendAndExit(0, kGuestShutdownLine);
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kStopped));
}

// It is not known whether the listener was the QEMU.
TEST_F(NodeWatcherProcessTest, AQemuThatEndsAsItIsConnectedToIsARunWithoutAProcess) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  const BeforePeerCredentials end([&] {
    EXPECT_TRUE(qemu_.HasClient(monitor));
    qemu_.SendAndExit(monitor, kGuestShutdownLine);
    AwaitEnd(qemu_.pid());
  });
  Start();
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_EQ(sink_.Latest("vm1")->ref().pid(), 0);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(NodeWatcherProcessTest, AQemuThatIsGoneBeforeItCouldBeFollowedIsNoCrash) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  const BeforePeerCredentials end([&] {
    EXPECT_TRUE(qemu_.HasClient(monitor));
    qemu_.SendAndExit(monitor, EventLine("STOP"));
    AwaitEnd(qemu_.pid());
  });
  Start();
  // The STOP may have been that of a migration.
  ExpectStopped(ShutdownClass::kUnknown, "migration-unfinished");
}

TEST_F(NodeWatcherProcessTest, AQemuThatBeganBeforeTheEndOfTheLastOneIsAnotherRun) {
  FakeQemu before;
  const int monitor = Follow(&before);
  before.CloseListener(monitor);
  before.CloseClient(monitor);
  before.Unlink(monitor);
  FakeQemu after;
  FakeMonitor later{.listen = false};
  const int next = after.AddMonitor(Socket("vm1"), later);
  ASSERT_TRUE(UntilCount(EventType::kMonitorLost, 1));
  Turns();  // the new socket refuses
  before.Kill(SIGKILL);
  after.Listen(next);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(sink_.Count(EventType::kMonitorRestored), 0);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Last(EventType::kStarted)->update.status->ref().pid(), after.pid());
}

TEST_F(NodeWatcherProcessTest, AChildThatOnlyHoldsTheMonitorDoesNotDelayTheEnd) {
  FollowWithManualClock();
  qemu_.ForkHolder();
  qemu_.Kill(SIGKILL);  // not reaped: no report of its end is waited for while the clock stands
  ExpectEnd(ShutdownClass::kUnknown);
}

TEST_F(NodeWatcherProcessTest, ARenamedSocketIsTheSameRun) {
  const int monitor = Follow(&qemu_);
  const std::string run_id = RunId("vm1");
  Rename("vm1", "vm2");
  ASSERT_TRUE(Until([&] { return watcher_->Describe().directories(0).sockets() == 1; }));
  Turns();
  qemu_.Send(monitor, EventLine("RESET"));
  ASSERT_TRUE(UntilCount(EventType::kReset, 1));
  // vmeventd connects again by the socket's new name.
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_EQ(RunId("vm1"), run_id);
  EXPECT_EQ(sink_.Latest("vm2"), nullptr);
  PowerOff(&qemu_, monitor);
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_TRUE(e2e::Exists(ShutdownFile("vm1")));
  EXPECT_FALSE(e2e::Exists(ShutdownFile("vm2")));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(NodeWatcherProcessTest, AnySocketOfAProcessReachesItsRun) {
  const int first = Follow(&qemu_);
  const int second = qemu_.AddMonitor(Socket("vm1-more"));
  ASSERT_TRUE(Until([&] { return watcher_->Describe().directories(0).sockets() == 2; }));
  Turns();
  EXPECT_FALSE(qemu_.HasClient(second)) << "it stays free for others";
  qemu_.CloseListener(first);
  qemu_.Unlink(first);
  qemu_.CloseClient(first);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_TRUE(qemu_.HasClient(second));
  KillUntilStopped(&qemu_);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

// The child keeps the socket in reserve open, and never answers on it.
TEST_F(NodeWatcherProcessTest, AnEndAfterTheSecondSocketWasTriedLeavesNothingBehind) {
  const std::string reserve = directory_.Path("ctrl/reserve");
  qemu_.AddMonitor(reserve);
  qemu_.ForkHolder();
  FollowWithManualClock();
  ASSERT_EQ(std::rename(reserve.c_str(), Socket("vm2").c_str()), 0);
  ASSERT_TRUE(Until([&] { return watcher_->Describe().directories(0).sockets() == 2; }));
  Turns();
  qemu_.KillAndReap();
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  for (int i = 0; i < 20; ++i) {
    manual_clock_.Advance(absl::Minutes(1));  // both sockets are tried again
    Turns();
  }
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
}

TEST_F(NodeWatcherProcessTest, TheRunsOfOneUserLeaveDescriptorsForOtherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to give a socket away";
  options_.max_vm_descriptors = 8;
  std::vector<std::unique_ptr<FakeQemu>> qemus;
  Start();
  for (int i = 0; i < 4; ++i) {
    qemus.push_back(std::make_unique<FakeQemu>());
    qemus.back()->AddMonitor(Socket("vm" + std::to_string(i)));
    if (i == 3) break;
    ASSERT_TRUE(UntilCount(EventType::kStarted, i + 1));
  }
  ASSERT_TRUE(UntilUnfollowed("vm3", "three quarters"));
  FakeQemu others;
  others.AddMonitor(Socket("new"));
  ASSERT_EQ(chown(Socket("new").c_str(), 65534, 65534), 0);
  ASSERT_TRUE(UntilState("new", VmState::kRunning));
  qemus[0]->Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm3", VmState::kRunning));
}

TEST_F(NodeWatcherProcessTest, AnUntrackedSocketThatGreetsAndHangsUpIsRetriedWithGrowingPauses) {
  options_.process_tracking = false;
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  int ends = 0;
  for (int i = 0; i < 1000; ++i) {  // ten minutes
    manual_clock_.Advance(absl::Milliseconds(600));
    watcher_->RunOnce(absl::ZeroDuration());
    if (!qemu_.HasClient(monitor)) continue;
    // The clock stands still meanwhile: the greeting is in time however slow this machine is.
    ASSERT_TRUE(UntilCount(EventType::kStarted, ends + 1));
    qemu_.CloseClient(monitor);
    ASSERT_TRUE(UntilCount(EventType::kStopped, ++ends));
  }
  EXPECT_GT(sink_.Count(EventType::kStarted), 3);
  EXPECT_LT(sink_.Count(EventType::kStarted), 30);
}

TEST_F(NodeWatcherProcessTest, InputOfAnotherProcessIsNotRead) {
  const int monitor = Follow(&qemu_);
  const pid_t child = qemu_.ForkSender(monitor, EventLine("RESET"));
  ASSERT_TRUE(UntilProblem("vm1", absl::StrCat("process ", child)));
  EXPECT_EQ(sink_.Count(EventType::kReset), 0);
  EXPECT_EQ(watcher_->counters().OfSource("vmeventd_protocol_errors_total"), 1u);
  KillUntilStopped(&qemu_);
  EXPECT_FALSE(Stopped().exit_unknown());
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

// Its SHUTDOWN may not have been read.
TEST_F(NodeWatcherProcessTest, AnEndJustAfterVmeventdClosedItsMonitorWasNotSeen) {
  const int monitor = FollowWithManualClock();
  qemu_.Send(monitor, "no JSON\r\n");
  ASSERT_TRUE(UntilProblem("vm1", "monitor closed by vmeventd"));
  qemu_.Exit();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().rule(), "unobserved");
}

// A watcher in a PID namespace of its own, where the QEMU has no number.
class ForeignNamespaceTest : public NodeWatcherProcessTest {
 protected:
  // Runs `body` there; it returns 0 if all was well.
  static int RunApart(const std::function<int()>& body) {
    const pid_t helper = fork();
    if (helper == 0) {
      if (unshare(CLONE_NEWPID) != 0) _exit(77);
      const pid_t child = fork();
      if (child == 0) _exit(body());
      int status = 0;
      waitpid(child, &status, 0);
      _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 78);
    }
    int status = 0;
    waitpid(helper, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 78;
  }
};

TEST_F(ForeignNamespaceTest, AProcessWithoutAVisiblePidIsStillFollowed) {
  FakeQemu second;
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  second.AddMonitor(Socket("vm2"));
  const int result = RunApart([&] {
    Start();
    if (!UntilCount(EventType::kStarted, 2)) return 1;
    if (sink_.Latest("vm1")->ref().pid() != 0) return 2;
    // A lost monitor is no end.
    qemu_.CloseClient(monitor);
    if (!UntilCount(EventType::kMonitorRestored, 1)) return 3;
    if (sink_.Count(EventType::kStopped) != 0) return 4;
    const int more = qemu_.AddMonitor(Socket("vm1-more"));
    if (!Until([&] { return watcher_->Describe().directories(0).sockets() == 3; })) return 5;
    Turns();
    if (sink_.Count(EventType::kStarted) != 2) return 6;
    qemu_.Unlink(more);
    // The daemon is started again: its socket leads to it.
    Restart();
    if (!UntilScanned()) return 7;
    const auto handshakes = [&] {
      const auto commands = qemu_.Commands(monitor);
      return std::count(commands.begin(), commands.end(), "{\"execute\":\"query-status\"}");
    };
    if (!Until([&] { return handshakes() == 3; })) return 8;
    qemu_.Send(monitor, EventLine("RESET"));
    if (!UntilCount(EventType::kReset, 1)) return 9;
    qemu_.CloseClient(monitor);
    if (!UntilCount(EventType::kMonitorRestored, 2)) return 10;
    if (sink_.Count(EventType::kStarted) != 2) return 11;
    qemu_.Send(monitor, kGuestShutdownLine);
    qemu_.Exit();
    if (!UntilCount(EventType::kStopped, 1)) return 12;
    if (LastClass() != ShutdownClass::kUser) return 13;
    return 0;
  });
  if (result == 77) GTEST_SKIP() << "needs the right to make a PID namespace";
  EXPECT_EQ(result, 0);
}

}  // namespace
}  // namespace vmeventd
