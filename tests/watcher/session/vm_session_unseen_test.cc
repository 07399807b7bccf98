// What nobody saw: resets, resumes and ends while no monitor was attached or no daemon ran.

#include "gtest/gtest.h"
#include "tests/watcher/session/story_suite.h"

namespace vmeventd {
namespace {

STORY_SUITE(UnseenStoryTest);

// Nobody listens for a time in which the VM may have been reset.
const StoryCase kUnseenResets[] = {
    {"APanicBeforeMayBeOver",
     "GUEST_PANICKED action=run; lost; ready; SHUTDOWN host-qmp-quit; end 0",
     "UNKNOWN UNOBSERVED; rule snapshot; seen the VM was not followed for a time: it may have been "
     "reset"},
    {"APanicThatTheRunStateShowsIsNotOver",
     "GUEST_PANICKED action=pause; restart; attach guest-panicked; SHUTDOWN host-qmp-quit; end 0",
     "CRASH GUEST_PANIC"},
    {"AWatchdogBeforeMayBeOver", "WATCHDOG action=reset; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"APanicThatEndedQemuIsNotOver", "GUEST_PANICKED action=poweroff; closed; wait 1m; gone 0",
     "CRASH GUEST_PANIC"},
    // The first panic may be over since the VM was resumed; the second is not.
    {"ASecondPanicThatEndedQemuIsNotOver",
     "GUEST_PANICKED action=run; STOP; RESUME; GUEST_PANICKED action=poweroff; closed; wait 1m; "
     "gone 0",
     "CRASH GUEST_PANIC"},
    {"ASecondPanicThatEndedNothingMayBeOver",
     "GUEST_PANICKED action=run; STOP; RESUME; GUEST_PANICKED action=run; closed; wait 1m; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AWatchdogThatEndedQemuIsNotOver", "WATCHDOG action=poweroff; lost; gone 0", "CRASH WATCHDOG"},
    {"AWatchdogThatEndedQemuIsNotOverAfterARestart", "WATCHDOG action=poweroff; restart; gone",
     "CRASH WATCHDOG"},
    {"APressBeforeMayBeVoid", "POWERDOWN; restart; attach; SHUTDOWN guest-shutdown; end 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"APressOnTheNewConnectionCounts", "lost; POWERDOWN; ready; SHUTDOWN guest-shutdown; end 0",
     "ADMIN HOST_POWERDOWN"},
    {"APauseByTheWatchdogMayBeResumed",
     "stays-down; WATCHDOG action=pause; STOP; answer watchdog; lost; ready paused; SHUTDOWN "
     "guest-shutdown; STOP; lost; gone SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"APauseByTheWatchdogThatIsFoundAgainIsNotOver",
     "WATCHDOG action=pause; STOP; answer watchdog; lost; ready watchdog; SHUTDOWN host-qmp-quit; "
     "end 0",
     "CRASH WATCHDOG"},
    {"AHibernationBeforeMayBeOver", "SUSPEND_DISK; lost; ready; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; seen SUSPEND_DISK, the monitor was lost"},
    {"AHibernationBeforeMayBeOverWhereAnAgentIsAsked",
     "SUSPEND_DISK; lost; ready; agent open; host down; SHUTDOWN guest-shutdown; end 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AHibernationOfAGuestThatIsFoundDownIsNotOver",
     "stays-down; SUSPEND_DISK; SHUTDOWN guest-shutdown; STOP; lost; ready shutdown; SHUTDOWN "
     "host-qmp-quit; end 0",
     "USER GUEST_HIBERNATE"},
    {"AHibernationOfAGuestThatIsFoundPausedIsOver",
     "stays-down; SUSPEND_DISK; SHUTDOWN guest-shutdown; STOP; lost; ready paused; SHUTDOWN "
     "guest-shutdown; end 0",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"AnInternalErrorBeforeMayBeOver", "STOP; answer internal-error; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AnInternalErrorBeforeAQuitIsNotOver",
     "stays-down; STOP; answer internal-error; SHUTDOWN host-qmp-quit; restart; gone",
     "CRASH HOST_ERROR"},
    // `cont` resumes a VM whose migration is complete.
    {"AMigrationBeforeMayBeOver", "STOP; answer postmigrate; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot; seen it may have been reset or resumed"},
    {"AMigrationThatQemuReportedMayBeOver",
     "MIGRATION status=active; STOP; MIGRATION status=completed; restart; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AMigrationThatIsFoundAgainIsNotOver",
     "STOP; answer postmigrate; restart; ready postmigrate; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN MIGRATED_AWAY"},
    {"AMigrationBeforeAQuitChangesNoClass",
     "STOP; answer postmigrate; lost; SHUTDOWN host-qmp-quit; gone 0", "ADMIN MIGRATED_AWAY"},
    {"AMigrationThatLibvirtReportedIsFinal", "libvirt; ready; reported migrated; restart; gone",
     "ADMIN MIGRATED_AWAY; file none"},
    // The migration may have failed, and what completes later may be a snapshot.
    {"AMigrationThatWasActiveMayHaveFailed",
     "MIGRATION status=active; lost; ready; MIGRATION status=completed; end SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot; seen MIGRATION status=completed"},
    {"AMigrationThatIsActiveAgainHasNotFailed",
     "MIGRATION status=active; lost; ready; MIGRATION status=active; MIGRATION status=completed; "
     "end SIGSEGV",
     "ADMIN MIGRATED_AWAY"},
    {"AStopOfOneThatMayHaveFailedIsUnknown",
     "libvirt; ready; MIGRATION status=active; lost; ready; declare; STOP; end SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot; intent intent-1; seen STOP in a migration"},
    // libvirt has followed it to its end: only the migration is in doubt.
    {"AStopOfOneThatMayHaveFailedIsUnknownWhereItsEndIsReported",
     "libvirt; ready; MIGRATION status=active; lost; ready; declare; STOP; reported failed; end "
     "SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot; intent intent-1; seen STOP in a migration"},
    {"AnArrivalBeforeMayHaveRun", "new; ready inmigrate; lost; gone 1",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AVmThatWaitedMayHaveRun", "new; ready prelaunch; lost; sent SIGTERM earlyoom; gone SIGTERM",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AMigrationThatFinishedMayHaveFailed",
     "STOP; answer finish-migrate; lost; sent SIGTERM earlyoom; SHUTDOWN host-signal; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AGuestThatWasFoundDownMayHaveComeUp", "new; declare; ready shutdown; restart; gone SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot; intent intent-1"},
    {"AStopThatMayEndAMigrationMayBeOver", "declare; STOP; lost; gone SIGSEGV",
     "UNKNOWN UNOBSERVED; rule snapshot; intent intent-1"},
    {"APauseBeforeMayBeOver", "STOP; answer paused; restart; POWERDOWN; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AGuestThatWasDownMayHaveComeUp", "stays-down; SHUTDOWN guest-shutdown; STOP; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AGuestThatWasDownAfterAStopMayHaveComeUp", "SHUTDOWN guest-shutdown; STOP; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"ADomainThatWasDownAsLibvirtWasLostMayHaveComeUp",
     "libvirt; ready; SHUTDOWN guest-shutdown; STOP; closed; wait 1m; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"ADomainThatQuitsAsLibvirtIsLostHasQuit",
     "libvirt; ready; SHUTDOWN host-qmp-quit; closed; wait 1m; gone 0",
     "ADMIN HOST_QUIT; file none"},
    {"AGuestThatWasDownMayHaveComeUpForAnotherClient",
     "stays-down; SHUTDOWN guest-shutdown; STOP; closed; wait 1m; held; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AGuestThatWasDownWhoseQemuExitsSlowlyHasNotComeUp",
     "stays-down; SHUTDOWN guest-shutdown; STOP; closed; wait 1m; gone 0", "USER GUEST_POWEROFF"},
    {"AQuitIsFinal", "stays-down; SHUTDOWN host-qmp-quit; restart; gone", "ADMIN HOST_QUIT"},
    {"AShutdownThatEndsQemuIsFinal", "POWERDOWN; SHUTDOWN guest-shutdown; restart; gone",
     "ADMIN HOST_POWERDOWN"},
};
STORIES(UnseenStoryTest, UnseenResets, kUnseenResets);

const StoryCase kRestarts[] = {
    {"APressBeforeALossIsInDoubtAfterIt",
     "POWERDOWN; attach; events STARTED POWERDOWN_REQUESTED; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot; seen vmeventd restarted"},
    {"AnEndMeanwhileIsJudgedByWhatWasSaved", "SHUTDOWN guest-shutdown; restart; gone",
     "USER GUEST_POWEROFF"},
    {"AnEndMeanwhileThatNothingDecidesIsUnknown", "POWERDOWN; restart; gone",
     "UNKNOWN UNOBSERVED; file none"},
    {"AStateThatChangedIsAGapAndThenTheState",
     "attach paused; events STARTED GAP PAUSED; attach; last RESUMED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AGuestThatWentDownIsNotJudged",
     "attach shutdown; events STARTED GAP GUEST_SHUTDOWN; SHUTDOWN host-qmp-quit; end",
     "UNKNOWN UNOBSERVED"},
    {"AMonitorThatWasLostIsRestored", "lost; attach; last MONITOR_RESTORED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AVmThatWasDownStaysDown",
     "SHUTDOWN guest-shutdown; STOP; attach shutdown; events STARTED GUEST_SHUTDOWN; SHUTDOWN "
     "host-qmp-quit; end",
     "USER GUEST_POWEROFF"},
    // Nobody saw the reset after its shutdown.
    {"AVmThatIsPausedIsNotDown",
     "SHUTDOWN guest-shutdown; STOP; attach paused; last PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; seen (clears: SHUTDOWN reason=guest-shutdown"},
    {"TheFileOfAVmThatIsFoundPausedIsTakenBack",
     "SHUTDOWN guest-shutdown; STOP; closed; file written; ready paused; file removed; SHUTDOWN "
     "host-qmp-quit; end 0",
     "ADMIN HOST_QUIT"},
    {"AVmThatIsInPrelaunchIsNotDown",
     "SHUTDOWN guest-shutdown; STOP; attach prelaunch; last PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; seen (clears: SHUTDOWN reason=guest-shutdown"},
    // Only its reset leads to `prelaunch`: it ran before that.
    {"AVmThatIsInPrelaunchAfterItsShutdownHasRun",
     "SHUTDOWN guest-shutdown; STOP; attach prelaunch; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"AVmThatIsInAnIoErrorIsNotDown",
     "SHUTDOWN guest-shutdown; STOP; attach io-error; last PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; seen (clears: SHUTDOWN reason=guest-shutdown"},
    {"AVmThatIsInAnInternalErrorIsNotDown",
     "SHUTDOWN guest-shutdown; STOP; attach internal-error; last PAUSED; SHUTDOWN host-qmp-quit; "
     "end",
     "CRASH HOST_ERROR; seen (clears: SHUTDOWN reason=guest-shutdown"},
    {"AVmThatWasFoundDownAndIsPausedIsNotDown",
     "new; ready shutdown; attach paused; SHUTDOWN host-qmp-quit; end", "ADMIN HOST_QUIT"},
    {"AVmThatWasPausedWhenItWentDownStaysSo", "STOP; SHUTDOWN guest-shutdown; attach paused; end",
     "USER GUEST_POWEROFF"},
    {"AVmThatWasPausedInItsHandshakeStaysSo",
     "new; SHUTDOWN guest-shutdown; ready paused; attach paused; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen did not know yet"},
    {"ARunThatNobodyHasReachedHasNoGap",
     "new; ready none; attach; events STARTED STATE_CHANGED; end", "UNKNOWN PROCESS_EXITED"},
    {"AMonitorThatDoesNotComeBackIsLost",
     "restart; wait 9s; is RUNNING; wait 1s; is UNREACHABLE; problem has not connected to the "
     "monitor; ready "
     "paused; events STARTED MONITOR_LOST MONITOR_RESTORED GAP PAUSED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"ALostMonitorShowsNothingOfTheEnd", "restart; wait 10s; gone", "UNKNOWN UNOBSERVED"},
    {"AProcessThatCannotBeFollowedEndsWithItsMonitor", "restart; untrack; ready; closed; gone",
     "UNKNOWN PROCESS_EXITED; seen not tracked"},
    {"TheSubjectOfARestoredEntryIsKnown", "SHUTDOWN guest-shutdown; attach; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen (clears: SHUTDOWN reason=guest-shutdown)"},
};
STORIES(UnseenStoryTest, Restarts, kRestarts);

}  // namespace
}  // namespace vmeventd
