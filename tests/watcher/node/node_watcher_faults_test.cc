#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/full_descriptor_table.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/node/node_watcher_fixture.h"
#include "watcher/qmp/monitor_connection.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

using NodeWatcherFaultsTest = NodeWatcherFixture;

// Another client, such as the VM's manager.
UniqueFd ConnectAsOther(const std::string& path) { return UniqueFd(e2e::ConnectUnix(path)); }

TEST_F(NodeWatcherFaultsTest, AFullQueueOfConnectionsIsAProblemUntilItHasRoom) {
  options_.greeting_timeout = absl::Milliseconds(30);
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  std::vector<UniqueFd> others;
  others.push_back(ConnectAsOther(Socket("vm1")));
  ASSERT_TRUE(StepUntil([] {}, [&] { return qemu_.HasClient(monitor); }));
  for (int i = 0; i < 2; ++i) others.push_back(ConnectAsOther(Socket("vm1")));
  Start();
  ASSERT_TRUE(UntilUnfollowed("vm1", "queue of connections is full"));
  EXPECT_GT(watcher_->Describe().unfollowed_sockets(0).since().seconds(), 0);
  EXPECT_EQ(sink_.Latest("vm1"), nullptr) << "it is no VM yet";
  others.clear();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_TRUE(IsUnfollowed("vm1", ""));
  EXPECT_THAT(sink_.Latest("vm1")->problems(), IsEmpty());
}

TEST_F(NodeWatcherFaultsTest, AQemuThatDoesNotAnswerIsAProblem) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"), {.answer = false});
  StartWithManualClock();
  ASSERT_TRUE(Until([&] {
    LetCommandsPass();
    return qemu_.Commands(monitor).size() == 1;
  }));
  manual_clock_.Advance(absl::Seconds(9));
  Turn();
  EXPECT_THAT(sink_.entries(), IsEmpty());
  manual_clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(UntilProblem("vm1", "does not answer"));
  EXPECT_TRUE(qemu_.HasClient(monitor));
  qemu_.SetBehavior(monitor, FakeMonitor());
  qemu_.Send(monitor, "{\"return\": {}}\r\n");
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_THAT(sink_.Latest("vm1")->problems(), IsEmpty());
}

TEST_F(NodeWatcherFaultsTest, AQemuThatAnswersOnlyAfterAnotherConnectIsNudged) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"), {.stuck = true});
  StartWithManualClock();
  ASSERT_TRUE(Until([&] { return qemu_.HasClient(monitor); }));
  Turn();  // reads its greeting
  manual_clock_.Advance(CommandPacer::kQuietTime);
  Turn();  // asks
  EXPECT_THAT(sink_.entries(), IsEmpty());
  manual_clock_.Advance(MonitorConnection::kNudgeInterval);
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_THAT(sink_.Latest("vm1")->problems(), IsEmpty());
}

TEST_F(NodeWatcherFaultsTest, ANextRunWaitsForTheDescriptorsOfTheEarlierRun) {
  options_.max_vm_descriptors = 2;
  FakeQemu first;
  FakeQemu second;
  const int monitor = Follow(&first);
  first.Unlink(monitor);
  first.CloseListener(monitor);
  first.CloseClient(monitor);
  second.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(Until([&] { return watcher_->counters().out_of_descriptors > 0; }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1) << "the first one's process has its descriptor";
  ASSERT_TRUE(UntilUnfollowed("vm1", "OUT_OF_DESCRIPTORS: "));
  first.Kill(SIGKILL);
  EXPECT_TRUE(UntilCount(EventType::kStarted, 2));
}

TEST_F(NodeWatcherFaultsTest, ANextRunIsListedWhileNoFileCanBeOpened) {
  FakeQemu first;
  FakeQemu second;
  const int monitor = Follow(&first);
  {
    const FullDescriptorTable full;
    first.Unlink(monitor);
    second.AddMonitor(Socket("vm1"));
    first.CloseClient(monitor);
    ASSERT_TRUE(UntilUnfollowed("vm1", "LimitNOFILE"));
    EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  }
  EXPECT_TRUE(UntilCount(EventType::kStarted, 2));
}

TEST_F(NodeWatcherFaultsTest, AMonitorThatMayNotBeConnectedToIsListedWithTheReason) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to give it up";
  ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0);
  qemu_.AddMonitor(Socket("vm1"));
  ASSERT_EQ(chmod(Socket("vm1").c_str(), 0600), 0);
  Start();
  ASSERT_EQ(seteuid(65534), 0);
  EXPECT_TRUE(UntilUnfollowed("vm1", "PERMISSION_DENIED: "));
  ASSERT_EQ(seteuid(0), 0);
  ASSERT_EQ(chmod(Socket("vm1").c_str(), 0666), 0);
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
}

TEST_F(NodeWatcherFaultsTest, AHumanMonitorIsAProblemOfItsVm) {
  qemu_.AddMonitor(Socket("vm1"), {.greeting = "QEMU 7.2.0 monitor - type 'help'\r\n(qemu) "});
  Start();
  EXPECT_TRUE(UntilProblem("vm1", "NOT_QMP: monitor closed by vmeventd: not QMP: a human monitor"));
}

TEST_F(NodeWatcherFaultsTest, APeerThatCannotBeIdentifiedIsListedWithTheReason) {
  qemu_.AddMonitor(Socket("vm1"));
  {
    const FaultyPeerCredentials faulty(EIO);
    Start();
    ASSERT_TRUE(UntilUnfollowed("vm1", "cannot identify the process"));
    EXPECT_FALSE(IsUnfollowed("vm1", "LimitNOFILE"));
    EXPECT_EQ(watcher_->counters().out_of_descriptors, 0u);
  }
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
}

TEST_F(NodeWatcherFaultsTest, AShutdownFileThatCannotBeWrittenIsAProblemAndCounted) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  directory_.MakeDirectory("ctrl/vm1.shutdown");
  StartUntilRunning();
  PowerOff(&qemu_, monitor);
  EXPECT_EQ(watcher_->counters().shutdown_file_errors, 2u) << "tried once more when it is gone";
  EXPECT_FALSE(sink_.Last(EventType::kStopped)->update.event->shutdown().shutdown_file_written());
  EXPECT_TRUE(HasProblem("vm1", "SHUTDOWN_FILE: "));
}

TEST_F(NodeWatcherFaultsTest, ALeftoverSocketFileIsNoVm) {
  {
    FakeQemu qemu;
    qemu.AddMonitor(Socket("vm1"));
    qemu.KillAndReap();
  }
  StartWithManualClock();
  ASSERT_TRUE(UntilInTime(
      [&] { return watcher_->counters().OfSource("vmeventd_monitor_connect_retries_total") >= 3; },
      absl::Milliseconds(1)));
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets_size(), 0) << "it may be about to listen";
  ASSERT_TRUE(UntilInTime([&] { return watcher_->Describe().unfollowed_sockets_size() > 0; },
                          absl::Seconds(1)));
  const v1::Problem problem = watcher_->Describe().unfollowed_sockets(0).problem();
  EXPECT_EQ(problem.code(), ProblemCode::kRefused);
  EXPECT_THAT(problem.text(), HasSubstr("nobody listens"));
  EXPECT_THAT(sink_.entries(), IsEmpty());
  EXPECT_EQ(watcher_->Describe().directories(0).sockets(), 1);
  FakeQemu qemu;
  std::filesystem::remove(Socket("vm1"));
  qemu.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets_size(), 0);
}

TEST_F(NodeWatcherFaultsTest, TheSocketFileOfARunWhoseEndWasSeenIsNoProblem) {
  auto qemu = std::make_unique<FakeQemu>();
  qemu->AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu->KillAndReap();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  const uint64_t before = watcher_->counters().OfSource("vmeventd_monitor_connect_retries_total");
  ASSERT_TRUE(UntilInTime(
      [&] {
        return watcher_->counters().OfSource("vmeventd_monitor_connect_retries_total") >=
               before + 20;
      },
      absl::Seconds(30)));
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets_size(), 0);
  // The socket is the next QEMU's own, left by it before it could be followed.
  std::filesystem::remove(Socket("vm1"));
  {
    FakeQemu other;
    other.AddMonitor(Socket("vm1"));
    other.KillAndReap();
  }
  ASSERT_TRUE(UntilInTime([&] { return watcher_->Describe().unfollowed_sockets_size() > 0; },
                          absl::Seconds(1)));
}

}  // namespace
}  // namespace vmeventd
