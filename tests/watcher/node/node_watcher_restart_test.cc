#include <unistd.h>

#include <csignal>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/full_descriptor_table.h"
#include "tests/support/process_state.h"
#include "tests/support/qmp_lines.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/node/restart_test.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(RestartTest, AQemuStoppedByASignalMeanwhileHasAProblem) {
  options_.greeting_timeout = absl::Milliseconds(30);
  Follow(&qemu_);
  Die();
  kill(qemu_.pid(), SIGSTOP);
  ASSERT_TRUE(StepUntil([] {}, [&] { return IsStopped(qemu_.pid()); }));
  const UniqueFd others[] = {UniqueFd(e2e::ConnectUnix(Socket("vm1"))),
                             UniqueFd(e2e::ConnectUnix(Socket("vm1")))};  // a full queue
  Restart();
  EXPECT_TRUE(UntilProblem(
      "vm1", absl::StrCat("QEMU (pid ", qemu_.pid(), ") is stopped by a signal (state T)")));
  kill(qemu_.pid(), SIGCONT);
}

TEST_F(RestartTest, ANewQemuOfTheSameNameIsAnotherRunWithItsOwnShutdownFile) {
  for (const bool by_guest : {true, false}) {
    FakeQemu old_qemu;
    FakeQemu new_qemu;
    const int monitor = FollowUntilShutdown(&old_qemu, by_guest ? kGuestShutdownLine : kQuitLine);
    const std::string old_run = RunId("vm1");
    const int ends = sink_.Count(EventType::kStopped);
    Die();
    old_qemu.Unlink(monitor);
    old_qemu.KillAndReap();
    new_qemu.AddMonitor(Socket("vm1"));
    if (!by_guest) e2e::Touch(ShutdownFile("vm1"));
    Restart();
    ASSERT_TRUE(Until([&] { return RunId("vm1") != old_run; }));
    ASSERT_EQ(sink_.Count(EventType::kStopped), ends + 1);
    EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref().run_id(), old_run);
    EXPECT_EQ(LastClass(), by_guest ? ShutdownClass::kUser : ShutdownClass::kAdmin);
    EXPECT_FALSE(Stopped().shutdown_file_written());
    EXPECT_EQ(e2e::Exists(ShutdownFile("vm1")), !by_guest);
    new_qemu.Unlink(0);
    new_qemu.KillAndReap();
    ASSERT_TRUE(UntilCount(EventType::kStopped, ends + 2));
    Die();
  }
}

TEST_F(RestartTest, TheShutdownFileBelongsToTheLaterOfTwoRunsOfAName) {
  FakeQemu old_qemu;
  FakeQemu new_qemu;
  const int old_monitor = FollowUntilShutdown(&old_qemu);
  const std::string old_run = RunId("vm1");
  old_qemu.Unlink(old_monitor);
  const int new_monitor = new_qemu.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  const std::string new_run = RunId("vm1");
  const auto saved = SavedRuns();
  ASSERT_THAT(saved, SizeIs(2));

  // Both have ended.
  Die();
  new_qemu.Send(new_monitor, kQuitLine);
  new_qemu.Kill(SIGKILL);
  old_qemu.KillAndReap();
  new_qemu.Reap();
  for (const bool turned : {false, true}) {
    std::vector<std::string> texts = {saved.at(old_run), saved.at(new_run)};
    if (turned) std::swap(texts[0], texts[1]);
    StartUntilScanned(texts);
    EXPECT_FALSE(e2e::Exists(ShutdownFile("vm1")));
    EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref().run_id(), new_run);
    EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  }
  EXPECT_EQ(sink_.Count(EventType::kStopped), 4);
}

// Identity.

TEST_F(RestartTest, APidOfAnotherNamespaceIsIgnored) {
  const int monitor = Follow(&qemu_);
  const std::string run_id = RunId("vm1");
  Die();
  StartWith({Changed(SavedRun(), [](internal::RunState* state) {
    state->mutable_run()->set_pid_namespace(1);
    state->mutable_run()->set_pid(999999999);
  })});
  ASSERT_TRUE(Until([&] { return Handshakes(qemu_, monitor) == 2; }));
  qemu_.Send(monitor, EventLine("RESET"));
  ASSERT_TRUE(UntilCount(EventType::kReset, 1));
  EXPECT_EQ(RunId("vm1"), run_id);
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

TEST_F(RestartTest, ARunWhoseSocketIsNoLongerWatchedIsFollowedByItsProcess) {
  const int monitor = FollowUntilShutdown(&qemu_);
  Die();
  directory_.MakeDirectory("other");
  options_.sources.watches = {Spec("other")};
  RestartUntilScanned();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  EXPECT_FALSE(qemu_.HasClient(monitor));
  KillUntilStopped(&qemu_);
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_TRUE(e2e::Exists(ShutdownFile("vm1")));
}

TEST_F(RestartTest, OfTwoPathsToASocketTheFollowedOneStaysFollowed) {
  ASSERT_EQ(symlink("ctrl", directory_.Path("alias").c_str()), 0);
  options_.sources.watches.push_back(Spec("alias"));
  const int monitor = Follow(&qemu_);
  Die();
  std::swap(options_.sources.watches[0], options_.sources.watches[1]);
  Restart();
  ASSERT_TRUE(Until([&] { return Handshakes(qemu_, monitor) == 2; }));
  ASSERT_TRUE(UntilScanned());
  qemu_.Send(monitor, EventLine("RESET"));
  ASSERT_TRUE(UntilCount(EventType::kReset, 1));
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kReset));
  EXPECT_EQ(sink_.Latest("vm1")->monitor_path(), Socket("vm1"));
}

// Restarts without free descriptors.

TEST_F(RestartTest, AFullDescriptorTableEndsNoRun) {
  FakeQemu lives;
  FakeQemu ends;
  const int monitor = lives.AddMonitor(Socket("vm1"));
  ends.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  previous_.saved = SavedTexts();
  StartWithManualClock();
  {
    const FullDescriptorTable full;
    Turn();
    EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE"));
    EXPECT_TRUE(HasProblem("vm2", "LimitNOFILE"));
    EXPECT_TRUE(watcher_->first_scan_done());
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
    ends.Kill(SIGKILL);
  }
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  EXPECT_EQ(sink_.Latest("vm2")->state(), VmState::kStopped);
  ASSERT_TRUE(UntilInTime([&] { return Handshakes(lives, monitor) == 2; }));
  ASSERT_TRUE(UntilProblem("vm1", ""));
  lives.Kill(SIGKILL);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(RestartTest, BeyondTheDescriptorLimitARunWaitsForItsProcess) {
  FakeQemu first;
  FakeQemu second;
  first.AddMonitor(Socket("vm1"));
  second.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  Die();
  options_.max_vm_descriptors = 1;
  RestartUntilScanned();
  EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE") || HasProblem("vm2", "LimitNOFILE"));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  first.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm1", VmState::kStopped));
  second.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm2", VmState::kStopped));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 2);
}

TEST_F(RestartTest, ARestartLeavesAGapThatCountsUnseenEnds) {
  FakeQemu second;
  second.AddMonitor(Socket("vm2"));
  Follow(&qemu_);
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  Die();
  qemu_.KillAndReap();
  previous_.daemon_existed = true;
  options_.session.last_watched = clock_.Now().wall - absl::Seconds(1);
  Restart();
  ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kGap) > 0; }));
  const v1::Event gap = *sink_.Last(EventType::kGap)->update.event;
  EXPECT_EQ(gap.gap_reason(), v1::GAP_REASON_NOT_WATCHED);
  EXPECT_EQ(FromTimestamp(gap.unwatched().start()), options_.session.last_watched);
  EXPECT_EQ(gap.unwatched().end().seconds(), gap.observe_time().seconds());
  EXPECT_THAT(gap.message(), testing::HasSubstr(": 1 end in between is UNKNOWN"));
  EXPECT_EQ(sink_.Count(EventType::kGap), 1);
}

TEST_F(RestartTest, TheGapOfARestartDoesNotBeginAfterItsEndWhenTheClockWasSetBack) {
  Follow(&qemu_);
  Die();
  previous_.daemon_existed = true;
  options_.session.last_watched = clock_.Now().wall + absl::Hours(1);
  Restart();
  ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kGap) > 0; }));
  const v1::Event gap = *sink_.Last(EventType::kGap)->update.event;
  EXPECT_EQ(FromTimestamp(gap.unwatched().start()), FromTimestamp(gap.unwatched().end()));
}

TEST_F(RestartTest, TheGapOfARestartReportsIfEarlierRunsAreUnknown) {
  Follow(&qemu_);
  Die();
  previous_.daemon_existed = true;
  previous_.are_known = false;
  StartWith({});
  ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kGap) > 0; }));
  EXPECT_THAT(sink_.Last(EventType::kGap)->update.event->message(),
              testing::HasSubstr(": which VMs ran before is not known"));
}

TEST_F(RestartTest, ASavedRunThatCannotBeReadIsNotKnown) {
  Follow(&qemu_);
  Die();
  previous_.daemon_existed = true;
  StartWith({"garbled"});
  ASSERT_TRUE(Until([&] { return sink_.Count(EventType::kGap) > 0; }));
  EXPECT_THAT(sink_.Last(EventType::kGap)->update.event->message(),
              testing::HasSubstr(": which VMs ran before is not known"));
}

TEST_F(RestartTest, AFirstStartLeavesNoGap) {
  Follow(&qemu_);
  Turns();
  EXPECT_EQ(sink_.Count(EventType::kGap), 0);
}

TEST_F(RestartTest, ARestartPublishesTheSavedStateOfEachOpenRun) {
  FakeMonitor behavior{.uuid = "550e8400-e29b-41d4-a716-446655440000"};
  FakeQemu second;
  qemu_.AddMonitor(Socket("vm1"), behavior);
  second.AddMonitor(Socket("vm2"), behavior);
  Start();
  ASSERT_TRUE(UntilProblem("vm1", "its UUID"));
  ASSERT_TRUE(UntilProblem("vm2", "its UUID"));
  ASSERT_TRUE(UntilAgentsKnown());  // nothing else is published then
  const auto saved = SavedRuns();
  const size_t before = sink_.entries().size();
  StartUntilScanned(SavedTexts());
  std::map<std::string, std::string> published;  // first
  for (size_t i = before; i < sink_.entries().size(); ++i) {
    const VmUpdate& update = sink_.entries()[i].update;
    EXPECT_FALSE(update.event.has_value());
    if (!update.saved_run.has_value()) continue;
    published.emplace(update.status->ref().run_id(), *update.saved_run);
  }
  EXPECT_EQ(published, saved);
}

// Restarts where processes are not tracked.

class UntrackedRestartTest : public RestartTest {
 protected:
  UntrackedRestartTest() { options_.process_tracking = false; }
};

TEST_F(UntrackedRestartTest, ARunResumesWhenProcessTrackingIsSwitchedOnOrOff) {
  for (const bool tracked_first : {false, true}) {
    const std::string vm = tracked_first ? "tracked" : "untracked";
    options_.process_tracking = tracked_first;
    FakeQemu qemu;
    const int monitor = qemu.AddMonitor(Socket(vm));
    Start();
    ASSERT_TRUE(UntilState(vm, VmState::kRunning));
    const std::string run_id = RunId(vm);
    options_.process_tracking = !tracked_first;
    Restart();
    ASSERT_TRUE(Until([&] { return Handshakes(qemu, monitor) == 2; }));
    ASSERT_TRUE(UntilScanned());
    qemu.Exit();
    ASSERT_TRUE(Until([&] { return sink_.Latest(vm)->state() == VmState::kStopped; }));
    EXPECT_THAT(sink_.Types(vm), ElementsAre(EventType::kStarted, EventType::kStopped));
    EXPECT_EQ(RunId(vm), run_id);
    Die();
  }
}

TEST_F(UntrackedRestartTest, WithoutProcessTrackingAMissingOrDeadSocketAfterARestartEndsTheRun) {
  for (const bool gone : {false, true}) {
    FakeQemu qemu;
    const std::string vm = gone ? "gone" : "refuses";
    const int monitor = qemu.AddMonitor(Socket(vm));
    Start();
    ASSERT_TRUE(UntilState(vm, VmState::kRunning));
    Die();
    qemu.CloseListener(monitor);
    if (gone) qemu.Unlink(monitor);
    RestartUntilScanned();
    EXPECT_EQ(sink_.Latest(vm)->state(), VmState::kStopped) << vm;
    EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
    EXPECT_THAT(SavedRuns(), IsEmpty());
    Die();
  }
}

TEST_F(UntrackedRestartTest, AReplacedSocketIsTheEndAndANewRun) {
  FakeQemu old_qemu;
  FakeQemu new_qemu;
  const int monitor = FollowUntilShutdown(&old_qemu);
  const std::string old_run = RunId("vm1");
  Die();
  old_qemu.Unlink(monitor);
  new_qemu.AddMonitor(Socket("vm1"));
  Restart();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref().run_id(), old_run);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
  EXPECT_FALSE(e2e::Exists(ShutdownFile("vm1"))) << "the name is the new run's";
  EXPECT_NE(RunId("vm1"), old_run);
}

TEST_F(UntrackedRestartTest, AFullDescriptorTableEndsNoRun) {
  const int monitor = qemu_.AddMonitor(Socket("lives"));
  const int gone = qemu_.AddMonitor(Socket("gone"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  previous_.saved = SavedTexts();
  StartWithManualClock();
  {
    const FullDescriptorTable full;
    Turn();
    Turn();
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  }
  qemu_.Unlink(gone);
  ASSERT_TRUE(UntilInTime(
      [&] { return Handshakes(qemu_, monitor) == 2 && sink_.Count(EventType::kStopped) == 1; }));
  EXPECT_EQ(sink_.Latest("gone")->state(), VmState::kStopped);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(UntrackedRestartTest, NoRunIdIsUsedTwice) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  std::set<std::string> run_ids;
  int started = 0;
  for (int daemon = 0; daemon < 3; ++daemon) {
    Restart();
    for (int run = 0; run < 2; ++run) {
      ASSERT_TRUE(UntilCount(EventType::kStarted, ++started));
      run_ids.insert(RunId("vm1"));
      qemu_.CloseClient(monitor);
      ASSERT_TRUE(UntilCount(EventType::kStopped, started));
    }
    Die();
  }
  EXPECT_THAT(run_ids, SizeIs(started));
}

}  // namespace
}  // namespace vmeventd
