// A VM that was migrated away: QEMU has no event for it but `query-status` knows.

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

TEST(VmSessionMigrationTest, PostmigrateIsMigratedAway) {
  RunningVm vm;
  vm.Event("STOP");
  int asked = 0;
  for (const int wait : {10, 10, 20, 40, 80, 100, 100, 100, 100, 100}) {
    vm.Advance(absl::Milliseconds(wait - 1));
    EXPECT_EQ(vm.queries, asked) << "a QEMU that is ended now may hang over a command";
    vm.Advance(absl::Milliseconds(1));
    EXPECT_EQ(vm.queries, ++asked);
    vm.RunState(asked == 10 ? "postmigrate" : "finish-migrate");
  }
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
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

TEST(VmSessionMigrationTest, NoCommandIsSentToTheQemuOfAManager) {
  RunInfo run;
  run.name = "web1";
  run.domain_id = 7;
  run.source_key = "libvirt";
  run.has_manager = true;
  const SessionOptions options;
  const Instant now{absl::UnixEpoch(), absl::Seconds(1)};
  VmSession session(run, &options, now);
  session.On(input::MonitorReady{{"7.2.22", "running", "uuid-1", "web1"}}, now);
  session.On(input::Event{QmpEvent{.name = "STOP"}}, now);
  EXPECT_EQ(session.NextTick(), absl::InfiniteDuration());
}

}  // namespace
}  // namespace vmeventd
