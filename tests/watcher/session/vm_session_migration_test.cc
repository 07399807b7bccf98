// A VM that was migrated away: QEMU has no event for it but `query-status` knows.

#include <string>

#include "gtest/gtest.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/story_suite.h"
#include "tests/watcher/session/verdicts.h"

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
TEST(VmSessionMigrationTest, TheMigrationOfAPausedVmIsSeen) {
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

TEST(VmSessionMigrationTest, APausedVmIsAskedSoonAfterAHandover) {
  RunningVm vm;
  vm.Event("STOP");
  vm.RunState("paused");
  vm.HandOver(absl::Seconds(1));
  const int before = vm.queries;
  vm.Advance(absl::Milliseconds(10));
  EXPECT_EQ(vm.queries, before + 1);
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

STORY_SUITE(MigrationStoryTest);

const StoryCase kMigrations[] = {
    {"AKillAfterAMigrationIsNoCrash", "STOP; answer postmigrate; end SIGKILL",
     "ADMIN MIGRATED_AWAY"},
    {"AnUnknownExitAfterAMigrationIsNoCrash", "STOP; answer postmigrate; end",
     "ADMIN MIGRATED_AWAY"},
    {"AMigrationAfterWhichTheVmRunsHereIsForgotten",
     "STOP; answer postmigrate; RESUME; SHUTDOWN host-qmp-quit; end", "ADMIN HOST_QUIT"},
    {"AVmThatStopsAndEndsAtOnceIsAskedNothing",
     "STOP; SHUTDOWN host-signal; wait 30s; asked 0; end", "ADMIN HOST_SIGNAL"},
    {"AVmThatEndsAtOnceAfterItIsAskedNoMore",
     "STOP; wait 10ms; asked 1; answer finish-migrate; MIGRATION status=completed; SHUTDOWN "
     "host-signal; wait 30s; asked 1; end",
     "ADMIN HOST_SIGNAL"},
    {"APausedVmThatMigratesIsAskedSoon",
     "new; ready paused; answer paused; answer paused; answer finish-migrate; wait 10ms; asked 1; "
     "end",
     "UNKNOWN MIGRATION_UNFINISHED"},
    // The guest was shut down at the source, and no event shows that here.
    {"AVmThatArrivesWithItsGuestDownIsDown",
     "new; ready inmigrate; is PAUSED; wait 1s; asked 1; answer inmigrate; wait 2s; asked 2; "
     "answer "
     "shutdown; is GUEST_DOWN; last GUEST_SHUTDOWN; wait 1m; asked 2; SHUTDOWN host-qmp-quit; end",
     "UNKNOWN UNOBSERVED; rule down-before-attach; never ran"},
    {"AVmThatArrivesPanickedIsACrash",
     "new; ready inmigrate; answer guest-panicked; SHUTDOWN host-qmp-quit; end",
     "CRASH GUEST_PANIC; never ran"},
    {"APausedVmThatDoesNotAnswerIsAskedAgain",
     "new; ready paused; wait 1s; asked 1; wait 1s; asked 2; wait 1s; asked 3; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AVmThatRunsIsNotAsked", "new; ready paused; RESUME; wait 1m; asked 0; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AVmThatEndsIsNotAsked",
     "new; ready paused; RESUME; SHUTDOWN guest-shutdown; wait 1m; asked 0; end",
     "USER GUEST_POWEROFF"},
    {"AMonitorThatClosedIsNotAsked", "new; ready paused; closed; wait 1m; asked 0; gone SIGSEGV",
     "CRASH QEMU_CRASHED"},
    {"AnAttachInItsLastPassSeesIt",
     "new; ready finish-migrate; wait 10ms; asked 1; answer finish-migrate; answer postmigrate; "
     "SHUTDOWN host-qmp-quit; end",
     "ADMIN MIGRATED_AWAY"},
    {"ARestartInItsLastPassSeesIt",
     "attach finish-migrate; wait 10ms; asked 1; answer postmigrate; SHUTDOWN host-qmp-quit; end",
     "ADMIN MIGRATED_AWAY"},
    {"AReconnectInItsLastPassSeesIt",
     "closed; ready finish-migrate; wait 10ms; asked 1; answer postmigrate; SHUTDOWN "
     "host-qmp-quit; end",
     "ADMIN MIGRATED_AWAY"},
    // The source, or the file, still has the VM: a program that restarts it after a CRASH runs it
    // twice.
    {"AnArrivalThatFailsIsNoCrash", "new; ready inmigrate; end 1",
     "ADMIN MIGRATION_FAILED; rule incoming-failed; seen query-status inmigrate; unseen MIGRATION "
     "status=failed; never ran"},
    {"AnArrivalThatIsReportedToFailIsNoCrash",
     "new; ready inmigrate; MIGRATION status=failed; end 1",
     "ADMIN MIGRATION_FAILED; rule incoming-failed; seen MIGRATION status=failed; never ran"},
    {"AnArrivalThatFailsInARestartIsNoCrash", "new; ready inmigrate; restart; gone 1",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AKillBeforeTheVmRanIsNoCrash", "new; ready inmigrate; end SIGKILL oom",
     "UNKNOWN NEVER_RAN; seen inmigrate; never ran"},
    {"ASegvBeforeTheVmRanIsNoCrash", "new; ready prelaunch; end SIGSEGV",
     "UNKNOWN NEVER_RAN; seen prelaunch"},
    {"AResetBeforeTheVmRanIsNoLife", "new; ready prelaunch; RESET; end SIGSEGV",
     "UNKNOWN NEVER_RAN"},
    {"AnEndBeforeTheVmRanIsNoCrash", "new; ready prelaunch; end", "UNKNOWN NEVER_RAN"},
    // A QEMU whose file of saved memory is damaged gives up within milliseconds.
    {"AnErrorBeforeTheRunStateIsNoCrash", "new; end 1",
     "UNKNOWN NEVER_RAN; seen monitor closed before QEMU reported its run state"},
    {"ASegvBeforeTheRunStateIsNoCrash", "new; end SIGSEGV", "UNKNOWN NEVER_RAN"},
    {"AMonitorThatIsReadyLaterShowsMore", "new; closed; ready; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"AQuitBeforeTheVmRanIsAQuit", "new; ready inmigrate; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; never ran"},
    {"AVmThatWasResumedRan", "new; ready inmigrate; RESUME; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen inmigrate"},
    {"AVmThatWasFoundRunningRan", "new; ready prelaunch; closed; wait 1m; ready; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen prelaunch"},
    // A manager that polls its migration may quit at once, or later.
    {"AQuitAtOnceAfterAMigrationThatQemuReportsEndsOneThatIsAway",
     "MIGRATION status=setup; MIGRATION status=active; STOP; MIGRATION status=completed; SHUTDOWN "
     "host-qmp-quit; end 0",
     "ADMIN MIGRATED_AWAY; seen the VM was migrated away, or its memory saved to a file; seen "
     "MIGRATION status=completed"},
    {"AQuitLaterAfterAMigrationThatQemuReportsEndsOneThatIsAway",
     "MIGRATION status=setup; MIGRATION status=active; STOP; MIGRATION status=completed; answer "
     "postmigrate; wait 2s; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN MIGRATED_AWAY"},
    {"AQuit200MillisecondsAfterAMigrationEndsOneThatIsAway",
     "STOP; wait 10ms; answer finish-migrate; wait 10ms; answer finish-migrate; wait 20ms; answer "
     "finish-migrate; wait 40ms; answer finish-migrate; wait 80ms; answer finish-migrate; wait "
     "100ms; asked 6; answer postmigrate; wait 100ms; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN MIGRATED_AWAY"},
    {"ASnapshotOfAPausedVmIsNoMigration",
     "STOP; answer paused; MIGRATION status=setup; MIGRATION status=completed; SHUTDOWN "
     "host-qmp-quit; end 0",
     "ADMIN HOST_QUIT"},
    {"AVmThatArrivedHasNotMigratedAway",
     "new; ready inmigrate; MIGRATION status=active; RESUME; MIGRATION status=completed; SHUTDOWN "
     "host-qmp-quit; end 0",
     "ADMIN HOST_QUIT"},
    {"AMigrationThatFailedIsNone",
     "MIGRATION status=active; MIGRATION status=failed; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT"},
    {"AStopAfterAMigrationThatFailedIsNoPartOfIt",
     "MIGRATION status=active; MIGRATION status=failed; STOP; sent SIGKILL bash; end SIGKILL",
     "ADMIN HOST_KILL"},
    // The migration may have been complete a millisecond later.
    {"AnEndInItsLastPassIsUnknown",
     "STOP; wait 10ms; answer finish-migrate; answer finish-migrate; end SIGKILL",
     "UNKNOWN MIGRATION_UNFINISHED; may still run; rule migration-unfinished; seen query-status "
     "finish-migrate"},
    {"ACrashAfterAStopThatMayBeItsEndIsUnknown", "STOP; wait 9ms; end SIGSEGV",
     "UNKNOWN MIGRATION_UNFINISHED; rule migration-unfinished; seen STOP"},
    {"AnErrorAfterAStopThatMayBeItsEndIsUnknown", "STOP; end 1", "UNKNOWN MIGRATION_UNFINISHED"},
    {"AKillOfTheKernelAfterAStopThatMayBeItsEndIsUnknown",
     "STOP; sent SIGKILL kernel; victim; end SIGKILL", "UNKNOWN MIGRATION_UNFINISHED"},
    {"AnUnknownEndAfterAStopThatMayBeItsEndIsUnknown", "STOP; end", "UNKNOWN MIGRATION_UNFINISHED"},
    {"AStopThatMayBeItsEndOutlivesARestart", "STOP; restart; end SIGSEGV",
     "UNKNOWN MIGRATION_UNFINISHED"},
    {"AKillOfTheHostAfterAStopIsTheHosts", "STOP; sent SIGKILL bash; end SIGKILL",
     "ADMIN HOST_KILL"},
    {"AMemoryKillerAfterAStopThatMayBeItsEndIsUnknown", "STOP; sent SIGKILL earlyoom; end SIGKILL",
     "UNKNOWN MIGRATION_UNFINISHED"},
    {"AnExitInOrderAfterAStopIsTheHosts", "STOP; end 0", "ADMIN HOST_REQUEST; rule paused-exit"},
    {"ACrashOfAPausedVmIsOne", "STOP; wait 10ms; answer paused; end SIGSEGV", "CRASH QEMU_CRASHED"},
    // libvirt reports by itself how a migration goes.
    {"ACrashOfADomainThatIsPausedIsOne", "libvirt; ready; STOP; reported failed; end SIGSEGV",
     "CRASH QEMU_CRASHED; file none"},
    {"ACrashOfAVmThatWasResumedIsACrash", "STOP; RESUME; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"AnAnswerFromBeforeTheStopExplainsNothing", "STOP; answer running; end SIGSEGV",
     "UNKNOWN MIGRATION_UNFINISHED"},
    {"ACrashAfterAPanicIsThePanics", "GUEST_PANICKED action=pause; STOP; end SIGSEGV",
     "CRASH GUEST_PANIC"},
    {"AnEndInItsLastPassAndARestartIsUnknown",
     "STOP; wait 10ms; answer finish-migrate; restart; end SIGKILL",
     "UNKNOWN MIGRATION_UNFINISHED"},
    {"AnEndInOneThatLibvirtReportedBeforeARestartIsUnknown",
     "libvirt; ready; MIGRATION status=active; restart 0s; ready; STOP; end SIGSEGV",
     "UNKNOWN MIGRATION_UNFINISHED; rule migration-unfinished; seen STOP in a migration; file "
     "none"},
    {"AMigrationThatDidNotFinishBeforeAResumeDecidesNothing",
     "STOP; answer finish-migrate; RESUME; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
    {"AMigrationThatDidNotFinishBeforeAPauseDecidesNothing",
     "STOP; answer finish-migrate; answer paused; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
    {"ACancelledMigrationDecidesNothing",
     "STOP; answer finish-migrate; MIGRATION status=cancelled; answer paused; RESUME; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
};
STORIES(MigrationStoryTest, Migrations, kMigrations);

// A VM that QEMU held until its end.
const StoryCase kHeld[] = {
    {"AVmThatSomebodyKilledNeverRan", "young; ready prelaunch; sent SIGKILL bash; end SIGKILL",
     "UNKNOWN NEVER_RAN; never ran; may still run; sender bash"},
    {"AHeldVmThatSomebodyAskedToEndNeverRan",
     "young; ready prelaunch; sent SIGTERM bash; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; never ran; may still run; sender bash"},
    {"AHeldVmThatWasQuitNeverRan", "young; ready prelaunch; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; never ran; may still run"},
    {"AHeldVmWhoseHostFailedNeverRan", "young; ready inmigrate; SHUTDOWN host-error; end 1",
     "CRASH HOST_ERROR; never ran; may still run"},
    {"AHeldVmWhoseQemuCrashedNeverRan", "young; ready prelaunch; end SIGSEGV",
     "UNKNOWN NEVER_RAN; never ran"},
    {"AHeldVmThatWasResumedRan", "young; ready prelaunch; RESUME; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; may not run"},
    {"AHeldVmThatEndedUnseenMayHaveRun", "young; ready prelaunch; restart; gone",
     "UNKNOWN NEVER_RAN"},
    {"AHeldVmWhoseMonitorWasLostMayHaveRun", "young; ready prelaunch; lost; gone SIGSEGV",
     "UNKNOWN NEVER_RAN"},
    {"AHeldVmThatWasFoundLateMayHaveRun", "old; ready prelaunch; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; seen monitor attached"},
};
STORIES(MigrationStoryTest, Held, kHeld);

}  // namespace
}  // namespace vmeventd
