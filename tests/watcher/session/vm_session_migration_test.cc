// A VM that was migrated away: QEMU has no event for it but `query-status` knows.

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

TEST(VmSessionMigrationTest, PostmigrateIsMigratedAway) {
  SessionDriver vm;
  vm.Ready();
  vm.Event("STOP");
  for (int asked = 0; asked < 3; ++asked) {
    vm.Advance(absl::Milliseconds(9));
    EXPECT_EQ(vm.queries, asked) << "a QEMU that is ended now may hang over a command";
    vm.Advance(absl::Milliseconds(1));
    EXPECT_EQ(vm.queries, asked + 1);
    vm.RunState(asked == 2 ? "postmigrate" : "finish-migrate");
  }
  vm.Shutdown("host-qmp-quit");
  vm.End();
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
}

TEST(VmSessionMigrationTest, AVmThatStopsAndEndsAtOnceIsAskedNothing) {
  for (const char* how : {"STOP", "completed"}) {
    SessionDriver vm;
    vm.Ready();
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
    vm.RunState("paused");
    vm.Advance(absl::Milliseconds(999));
    ASSERT_EQ(vm.queries, before + 1) << how;
    vm.Advance(absl::Milliseconds(1));
    ASSERT_EQ(vm.queries, before + 2) << how;
    vm.RunState("postmigrate");
    vm.Advance(absl::Minutes(1));
    EXPECT_EQ(vm.queries, before + 2) << how << ": it is known";
    vm.Shutdown("host-qmp-quit");
    vm.End();
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
  }
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
  const SessionOptions options;
  const Instant now{absl::UnixEpoch(), absl::Seconds(1)};
  VmSession session(run, &options, now);
  session.OnMonitorReady({"7.2.22", "running", "uuid-1", "web1"}, now);
  session.OnQmpEvent(QmpEvent{.name = "STOP"}, now);
  EXPECT_EQ(session.NextTick(), absl::InfiniteDuration());
}

TEST(VmSessionMigrationTest, AMigrationThatWentOnHereIsForgotten) {
  SessionDriver vm;
  vm.Ready();
  vm.Event("STOP");
  vm.RunState("postmigrate");
  vm.Event("RESUME");
  vm.Shutdown("host-qmp-quit");
  vm.End();
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
    vm.Shutdown("host-qmp-quit");
    vm.End();
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
  }
}

}  // namespace
}  // namespace vmeventd
