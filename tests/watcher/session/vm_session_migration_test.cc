// A VM that was migrated away: QEMU has no event for it but `query-status` knows.

#include <csignal>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(VmSessionMigrationTest, PostmigrateIsMigratedAway) {
  RunningVm vm;
  vm.Event("STOP");
  int asked = 0;
  for (const int wait : {10, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}) {
    vm.Advance(absl::Milliseconds(wait - 1));
    EXPECT_EQ(vm.queries, asked) << "a QEMU that is ended now may hang over a command";
    vm.Advance(absl::Milliseconds(1));
    EXPECT_EQ(vm.queries, ++asked);
    vm.RunState(asked == 10 ? "postmigrate" : "finish-migrate");
  }
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
}

TEST(VmSessionMigrationTest, AVmThatStopsAndEndsAtOnceIsAskedNothing) {
  for (const char* how : {"STOP", "completed"}) {
    RunningVm vm;
    vm.Event("STOP");
    if (how == std::string("completed")) {
      vm.Advance(absl::Milliseconds(10));
      ASSERT_EQ(vm.queries, 1);
      vm.RunState("finish-migrate");
      vm.Event("MIGRATION", R"({"status": "completed"})");
    }
    const int before = vm.queries;
    vm.Shutdown("host-signal");
    vm.Advance(absl::Seconds(30));
    EXPECT_EQ(vm.queries, before) << how;
  }
}

// QEMU sends no STOP for a VM that is paused already, and without the capability `events` nothing
// else either.
TEST(VmSessionMigrationTest, APausedVmThatIsMigratedAwayIsSeen) {
  for (const char* how : {"attach", "STOP", "restart", "reconnect"}) {
    SessionDriver vm;
    if (how == std::string("attach")) {
      vm.Ready("paused");
    } else {
      vm.Ready();
      vm.Event("STOP");
      vm.RunState("paused");
      if (how == std::string("restart")) vm.Restart();
      if (how == std::string("reconnect")) vm.Closed();
      if (how != std::string("STOP")) vm.Ready("paused");
    }
    const int before = vm.queries;
    vm.Advance(absl::Seconds(1));
    ASSERT_EQ(vm.queries, before + 1) << how;
    int asked = before + 1;
    for (const int wait : {2, 4, 8, 16, 30, 30}) {
      vm.RunState("paused");
      vm.Advance(absl::Seconds(wait) - absl::Milliseconds(1));
      ASSERT_EQ(vm.queries, asked) << how;
      vm.Advance(absl::Milliseconds(1));
      ASSERT_EQ(vm.queries, ++asked) << how;
    }
    vm.RunState("postmigrate");
    vm.Advance(absl::Minutes(1));
    EXPECT_EQ(vm.queries, asked) << how << ": it is known";
    vm.EndBy("host-qmp-quit");
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
  }
}

TEST(VmSessionMigrationTest, APausedVmThatMigratesIsAskedSoonAgain) {
  SessionDriver vm;
  vm.Ready("paused");
  for (int i = 0; i < 10; ++i) vm.RunState("paused");
  vm.RunState("finish-migrate");
  vm.Advance(absl::Milliseconds(10));
  EXPECT_EQ(vm.queries, 1);
}

// Its guest was shut down at the source, and no event says so here.
TEST(VmSessionMigrationTest, AVmThatArrivesWithItsGuestDownIsDown) {
  SessionDriver vm;
  vm.Ready("inmigrate");
  EXPECT_EQ(vm.Status().state, VmState::kPaused);
  vm.Advance(absl::Seconds(1));
  ASSERT_EQ(vm.queries, 1);
  vm.RunState("inmigrate");
  vm.Advance(absl::Seconds(2));
  ASSERT_EQ(vm.queries, 2);
  vm.RunState("shutdown");
  EXPECT_EQ(vm.Status().state, VmState::kGuestDown);
  EXPECT_EQ(vm.Last().type, EventType::kGuestShutdown);
  vm.Advance(absl::Minutes(1));
  EXPECT_EQ(vm.queries, 2);
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm.Stopped().rule, "down-before-attach");
}

TEST(VmSessionMigrationTest, AVmThatArrivesPanickedIsACrash) {
  SessionDriver vm;
  vm.Ready("inmigrate");
  vm.RunState("guest-panicked");
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

TEST(VmSessionMigrationTest, APausedVmThatDoesNotAnswerIsAskedAgain) {
  SessionDriver vm;
  vm.Ready("paused");
  for (int second = 1; second <= 3; ++second) {
    vm.Advance(absl::Seconds(1));
    EXPECT_EQ(vm.queries, second);
  }
}

TEST(VmSessionMigrationTest, AVmIsAskedOnlyWhileItIsPausedAndItsMonitorAnswers) {
  for (const char* how : {"RESUME", "SHUTDOWN", "closed", "gone"}) {
    SessionDriver vm;
    vm.Ready("paused");
    if (how == std::string("RESUME")) vm.Event("RESUME");
    if (how == std::string("SHUTDOWN")) {
      vm.Event("RESUME");
      vm.Shutdown("guest-shutdown");
    }
    if (how == std::string("closed")) vm.Closed();
    if (how == std::string("gone")) vm.End();
    if (!vm.done) vm.Advance(absl::Minutes(1));
    EXPECT_EQ(vm.queries, 0) << how;
    EXPECT_TRUE(!vm.done || vm.session().NextTick() == absl::InfiniteDuration()) << how;
  }
}

TEST(VmSessionMigrationTest, AVmOfAManagerIsAskedNothing) {
  RunInfo run;
  run.name = "web1";
  run.domain_id = 7;
  run.reported_by = ReportedBy::kLibvirt;
  const SessionOptions options;
  const Instant now{absl::UnixEpoch(), absl::Seconds(1)};
  VmSession session(run, &options, now);
  session.On(input::MonitorReady{{"7.2.22", "running", "uuid-1", "web1"}}, now);
  session.On(input::Event{QmpEvent{.name = "STOP"}}, now);
  EXPECT_EQ(session.NextTick(), absl::InfiniteDuration());
}

TEST(VmSessionMigrationTest, AMigrationThatWentOnHereIsForgotten) {
  RunningVm vm;
  vm.Event("STOP");
  vm.RunState("postmigrate");
  vm.Event("RESUME");
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

TEST(VmSessionMigrationTest, AnAttachWhileTheLastPagesMoveSeesTheMigration) {
  for (const char* how : {"attach", "restart", "reconnect"}) {
    SessionDriver vm;
    if (how != std::string("attach")) vm.Ready();
    if (how == std::string("restart")) vm.Restart();
    if (how == std::string("reconnect")) vm.Closed();
    vm.Ready("finish-migrate");
    vm.Advance(absl::Milliseconds(10));
    ASSERT_EQ(vm.queries, 1) << how;
    vm.RunState("finish-migrate");
    vm.RunState("postmigrate");
    vm.EndBy("host-qmp-quit");
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
  }
}

// The source, or the file, still has the VM: whoever restarts it after a CRASH runs it twice.
TEST(VmSessionMigrationTest, AnIncomingMigrationThatFailsIsNoCrash) {
  for (const bool said : {false, true}) {
    SessionDriver vm;
    vm.Ready("inmigrate");
    if (said) vm.Event("MIGRATION", R"({"status": "failed"})");
    vm.End(Exited(1));
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigrationFailed);
    EXPECT_EQ(vm.Stopped().rule, "incoming-failed");
    EXPECT_THAT(vm.Last().message, HasSubstr("query-status inmigrate"));
    EXPECT_EQ(absl::StrContains(vm.Last().message, "MIGRATION status=failed"), said);
  }
}

TEST(VmSessionMigrationTest, AQemuThatEndsBeforeItsVmRanIsNoCrash) {
  for (const char* state : {"inmigrate", "prelaunch"}) {
    for (const ProcessEnd& end : {Signal(SIGKILL), Signal(SIGSEGV), Signal(SIGABRT), Exited(0),
                                  ProcessEnd{ExitStatus{0, SIGKILL}, true}, ProcessEnd{}}) {
      SessionDriver vm;
      vm.Ready(state);
      vm.End(end);
      ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kNeverRan);
      EXPECT_THAT(vm.Last().message, HasSubstr(state));
    }
  }
}

// As of a QEMU whose file of saved memory is bad: it gives up within milliseconds.
TEST(VmSessionMigrationTest, AQemuThatEndsBeforeItSaidItsRunStateIsNoCrash) {
  for (const ProcessEnd& end : {Exited(1), Signal(SIGSEGV)}) {
    SessionDriver vm;
    vm.End(end);
    ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kNeverRan);
    EXPECT_THAT(vm.Last().message, HasSubstr("monitor closed before QEMU reported its run state"));
  }
}

TEST(VmSessionMigrationTest, AMonitorThatWasReadyLaterSaysMore) {
  SessionDriver vm;
  vm.Closed();
  vm.Ready();
  vm.End(Signal(SIGSEGV));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST(VmSessionMigrationTest, AQemuThatIsEndedBeforeItsVmRanIsEndedByWhoSaidSo) {
  SessionDriver vm;
  vm.Ready("inmigrate");
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

TEST(VmSessionMigrationTest, AVmThatRanIsClassifiedAsEver) {
  for (const char* state : {"inmigrate", "prelaunch"}) {
    for (const char* how : {"RESUME", "reconnect"}) {
      SessionDriver vm;
      vm.Ready(state);
      if (how == std::string("RESUME")) {
        vm.Event("RESUME");
      } else {
        vm.Closed();
        vm.Advance(absl::Minutes(1));
        vm.Ready();
      }
      vm.End(Signal(SIGKILL));
      ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
      EXPECT_THAT(vm.Last().message, Not(HasSubstr(state)));
    }
  }
}

TEST(VmSessionMigrationTest, ThatAVmNeverRanIsKeptAcrossARestart) {
  SessionDriver vm;
  vm.Ready("inmigrate");
  vm.Restart();
  vm.Gone(Exited(1));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigrationFailed);
}

// Its last answer was `finish-migrate`: the migration may have been complete a millisecond later.
TEST(VmSessionMigrationTest, AQemuThatEndsWhileItFinishesAMigrationIsUnknown) {
  for (const bool restarted : {false, true}) {
    RunningVm vm;
    vm.Event("STOP");
    vm.Advance(absl::Milliseconds(10));
    vm.RunState("finish-migrate");
    vm.RunState("finish-migrate");
    if (restarted) vm.Restart();
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kMigrationUnfinished);
    EXPECT_EQ(vm.Stopped().rule, "migration-unfinished");
    EXPECT_THAT(vm.Last().message, HasSubstr("query-status finish-migrate"));
  }
}

TEST(VmSessionMigrationTest, AMigrationThatDidNotFinishDecidesNothing) {
  for (const char* after : {"RESUME", "paused", "running", "cancelled"}) {
    RunningVm vm;
    vm.Event("STOP");
    vm.RunState("finish-migrate");
    if (after == std::string("cancelled")) {
      vm.Event("MIGRATION", R"({"status": "cancelled"})");
      vm.RunState("paused");
      vm.Event("RESUME");
    } else if (after == std::string("RESUME")) {
      vm.Event("RESUME");
    } else {
      vm.RunState(after);
    }
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
    EXPECT_THAT(vm.Last().message, Not(HasSubstr("finish-migrate")));
  }
}

}  // namespace
}  // namespace vmeventd
