// Two QEMUs on one path: the second has unlinked the socket of the first and bound its own.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/qmp_lines.h"
#include "tests/watcher/node/restart_test.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

class SharedPathTest : public RestartTest {
 protected:
  void FollowFirst() {
    first_monitor_ = FollowWithManualClock();
    first_run_ = RunId("vm1");
  }
  // Another QEMU takes the path of the first one, is followed, and removes the path as it ends.
  void TakeAndRemovePath() {
    qemu_.Unlink(first_monitor_);
    second_monitor_ = clone_.AddMonitor(Socket("vm1"));
    ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
    second_run_ = RunId("vm1");
    clone_.Unlink(second_monitor_);
    clone_.KillAndReap();
    ASSERT_TRUE(UntilStopped(second_run_));
  }
  void Wait(absl::Duration time) {
    for (absl::Duration waited; waited < time; waited += absl::Milliseconds(100)) {
      manual_clock_.Advance(absl::Milliseconds(100));
      Turn();
    }
  }
  // Waits until both are followed and have the problem.
  void FollowBoth() {
    first_monitor_ = qemu_.AddMonitor(Socket("vm1"));
    if (watcher_ == nullptr) StartWithManualClock();
    ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
    first_run_ = RunId("vm1");
    qemu_.Unlink(first_monitor_);
    second_monitor_ = clone_.AddMonitor(Socket("vm1"));
    ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
    second_run_ = RunId("vm1");
    ASSERT_TRUE(UntilInTime([&] { return SharesPath(first_run_) && SharesPath(second_run_); }));
  }
  bool SharesPath(const std::string& run_id) const {
    const v1::Vm* const vm = Find(run_id);
    return vm != nullptr && vm->problems_size() == 1 &&
           vm->problems(0).code() == v1::PROBLEM_CODE_SHARED_PATH;
  }
  // The newest status of a run.
  const v1::Vm* Find(const std::string& run_id) const {
    const v1::Vm* found = nullptr;
    for (const RecordingSink::Entry& entry : sink_.entries()) {
      const auto& status = entry.update.status;
      if (status.has_value() && status->ref().run_id() == run_id) found = &*status;
    }
    return found;
  }
  const v1::ShutdownDetail& EndOf(const std::string& run_id) const {
    return Find(run_id)->shutdown();
  }
  bool UntilStopped(const std::string& run_id) {
    return UntilInTime([&] { return Find(run_id)->state() == v1::VM_STATE_STOPPED; });
  }

  FakeQemu clone_;
  int first_monitor_ = 0;
  int second_monitor_ = 0;
  std::string first_run_;
  std::string second_run_;
};

TEST_F(SharedPathTest, EachEndIsAttributedToItsOwnQemu) {
  FollowBoth();
  clone_.Kill(SIGKILL);
  ASSERT_TRUE(UntilStopped(second_run_));
  EXPECT_EQ(EndOf(second_run_).exit_signal().number(), SIGKILL);
  EXPECT_EQ(Find(first_run_)->state(), v1::VM_STATE_RUNNING);
  EXPECT_TRUE(SharesPath(first_run_)) << "it cannot be found again";
  EXPECT_TRUE(IsUnfollowed("vm1", "")) << "nobody is told to delete its socket";

  qemu_.Send(first_monitor_, kGuestShutdownLine);
  qemu_.Exit();
  ASSERT_TRUE(UntilStopped(first_run_));
  EXPECT_EQ(EndOf(first_run_).shutdown_class(), v1::SHUTDOWN_CLASS_USER);
}

TEST_F(SharedPathTest, TheProblemOfTheQemuAtThePathIsClearedWhenTheOtherEnds) {
  FollowBoth();
  qemu_.Send(first_monitor_, kQuitLine);
  qemu_.Exit();
  ASSERT_TRUE(UntilStopped(first_run_));
  EXPECT_EQ(EndOf(first_run_).shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  ASSERT_TRUE(UntilInTime([&] { return !SharesPath(second_run_); }));
  EXPECT_EQ(Find(second_run_)->state(), v1::VM_STATE_RUNNING);
}

TEST_F(SharedPathTest, AfterACrashOfVmeventdTheFirstQemuIsUnreachableAndItsEndUnknown) {
  FollowBoth();
  clone_.KillAndReap();
  ASSERT_TRUE(UntilStopped(second_run_));
  Die();
  previous_.saved = SavedTexts();
  StartWithManualClock();
  ASSERT_TRUE(UntilInTime([&] { return Find(first_run_)->state() == v1::VM_STATE_UNREACHABLE; }));
  ASSERT_TRUE(UntilInTime([&] { return Find(first_run_)->problems_size() == 2; }));
  qemu_.Exit();
  ASSERT_TRUE(UntilStopped(first_run_));
  EXPECT_EQ(EndOf(first_run_).shutdown_class(), v1::SHUTDOWN_CLASS_UNKNOWN);
  EXPECT_EQ(EndOf(first_run_).cause(), v1::SHUTDOWN_CAUSE_UNOBSERVED);
}

TEST_F(SharedPathTest, TheFirstQemuKeepsItsConnectionAcrossAHandover) {
  FollowBoth();
  ASSERT_TRUE(UntilAgentsKnown());
  watcher_->PublishRest();
  std::vector<HandedRun> handed = watcher_->HandOver().value().runs;
  ASSERT_EQ(handed.size(), 2u);
  Die();
  previous_.handed = std::move(handed);
  previous_.saved = SavedTexts();
  StartWithManualClock();
  Turns();
  EXPECT_EQ(watcher_->counters().handovers, 2u);
  qemu_.Send(first_monitor_, kGuestShutdownLine);
  qemu_.Exit();
  ASSERT_TRUE(UntilStopped(first_run_));
  EXPECT_EQ(EndOf(first_run_).shutdown_class(), v1::SHUTDOWN_CLASS_USER);
  clone_.Send(second_monitor_, kQuitLine);
  clone_.Exit();
  ASSERT_TRUE(UntilStopped(second_run_));
  EXPECT_EQ(EndOf(second_run_).shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
}

TEST_F(SharedPathTest, AQemuWhoseMonitorWasLostIsUnreachable) {
  FollowBoth();
  qemu_.CloseListener(first_monitor_);
  qemu_.CloseClient(first_monitor_);
  ASSERT_TRUE(UntilInTime([&] { return Find(first_run_)->state() == v1::VM_STATE_UNREACHABLE; }));
  EXPECT_EQ(Find(second_run_)->state(), v1::VM_STATE_RUNNING);
  qemu_.Exit();
  ASSERT_TRUE(UntilStopped(first_run_));
  EXPECT_EQ(EndOf(first_run_).shutdown_class(), v1::SHUTDOWN_CLASS_UNKNOWN);
}

TEST_F(SharedPathTest, ACloneAtTheSamePathKeepsItsOwnName) {
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu_.Unlink(0);
  clone_.AddMonitor(Socket("vm1"), {.name = "vm2"});
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  clone_.Kill(SIGKILL);
  ASSERT_TRUE(UntilStopped(RunId("vm2")));
  EXPECT_EQ(sink_.Latest("vm1")->state(), v1::VM_STATE_RUNNING);
}

TEST_F(SharedPathTest, AQemuWhosePathAnotherTookAndRemovedAtItsEndHasTheProblem) {
  FollowFirst();
  TakeAndRemovePath();
  EXPECT_TRUE(UntilInTime([&] { return SharesPath(first_run_); }));
  EXPECT_EQ(Find(first_run_)->state(), v1::VM_STATE_RUNNING);
  EXPECT_THAT(Find(first_run_)->problems(0).text(), HasSubstr("has bound or removed the path"));
}

TEST_F(SharedPathTest, APathThatAProgramWithoutAVmHasTakenIsLostToo) {
  FollowFirst();
  qemu_.Unlink(first_monitor_);
  clone_.AddMonitor(Socket("vm1"), {.greet = false});
  EXPECT_TRUE(UntilInTime([&] { return SharesPath(first_run_); }));
}

TEST_F(SharedPathTest, TheProblemIsClearedOnceItsOwnSocketIsAtItsPathAgain) {
  const std::string kept = Socket("vm1") + ".kept";
  FollowFirst();
  ASSERT_EQ(link(Socket("vm1").c_str(), kept.c_str()), 0);
  TakeAndRemovePath();
  ASSERT_TRUE(UntilInTime([&] { return SharesPath(first_run_); }));
  ASSERT_EQ(rename(kept.c_str(), Socket("vm1").c_str()), 0);
  EXPECT_TRUE(UntilInTime([&] { return !SharesPath(first_run_); }));
  EXPECT_EQ(Find(first_run_)->problems_size(), 0);
}

TEST_F(SharedPathTest, ASocketThatIsRenamedOrRemovedIsNoProblemWhileItIsConnected) {
  FollowWithManualClock();
  const std::string hidden = Socket("vm1") + ".hidden";
  ASSERT_EQ(rename(Socket("vm1").c_str(), hidden.c_str()), 0);
  Wait(absl::Seconds(30));
  EXPECT_EQ(sink_.Latest("vm1")->problems_size(), 0);
  ASSERT_EQ(unlink(hidden.c_str()), 0);
  Wait(absl::Seconds(30));
  EXPECT_EQ(sink_.Latest("vm1")->problems_size(), 0);
}

TEST_F(SharedPathTest, AVmThatArrivesAtThePathOfItsSourceIsNoProblem) {
  FollowFirst();
  qemu_.Unlink(first_monitor_);
  clone_.AddMonitor(Socket("vm1"), {.status = "inmigrate"});
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  Wait(absl::Seconds(30));
  EXPECT_EQ(Find(first_run_)->problems_size(), 0);
}

TEST_F(SharedPathTest, AfterARestartAVmWithoutASocketIsUnreachableForThatReason) {
  FollowWithManualClock();
  first_run_ = RunId("vm1");
  qemu_.Unlink(0);
  Die();
  previous_.saved = SavedTexts();
  StartWithManualClock();
  ASSERT_TRUE(UntilInTime([&] {
    return Find(first_run_)->state() == v1::VM_STATE_UNREACHABLE &&
           absl::StrContains(Find(first_run_)->problems(0).text(), "there is no socket at");
  }));
  EXPECT_EQ(Find(first_run_)->problems_size(), 1);
  EXPECT_EQ(Find(first_run_)->problems(0).code(), v1::PROBLEM_CODE_MONITOR_LOST);
  EXPECT_EQ(Find(first_run_)->problems(0).text(),
            "vmeventd has not connected to the monitor since it started: there is no socket at " +
                Socket("vm1"));
}

TEST_F(SharedPathTest, AQemuThatEndsWhileTheNextStartsIsNoProblem) {
  first_monitor_ = qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  first_run_ = RunId("vm1");
  qemu_.Send(first_monitor_, kQuitLine);
  ASSERT_TRUE(UntilShutdownSaved());
  qemu_.Unlink(first_monitor_);
  clone_.AddMonitor(Socket("vm1"), {.name = "another name"});
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  second_run_ = RunId("vm1");
  Wait(absl::Seconds(30));
  EXPECT_FALSE(SharesPath(second_run_));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

}  // namespace
}  // namespace vmeventd
