// Ends of runs, by what QEMU and the kernel report of them.

#include "gtest/gtest.h"
#include "tests/watcher/session/story_suite.h"

namespace vmeventd {
namespace {

STORY_SUITE(VmSessionEndTest);

const StoryCase kPowerButton[] = {
    {"APressInItsWindowIsTheAdmins", "POWERDOWN; wait 10m; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    {"AnIgnoredPressIsOutOfItsWindow", "POWERDOWN; wait 10m1ms; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_EARLIER; seen the power button was pressed 10m before "
     "the SHUTDOWN"},
    // The guest could not obey meanwhile.
    {"APressIsNoOlderForASuspendedNode",
     "POWERDOWN; wait 5m; suspend 8h; wait 5m; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    {"AnIgnoredPressIsOutOfItsWindowAfterASuspension",
     "POWERDOWN; wait 5m; suspend 8h; wait 5m1ms; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_EARLIER; seen the power button was pressed 10m before"},
    {"ARebootObeysNoPress", "POWERDOWN; wait 11m; SHUTDOWN guest-reset; end",
     "USER GUEST_REBOOT_EXIT"},
    {"TheLastPressCounts", "POWERDOWN; wait 9m; POWERDOWN; wait 9m; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    {"AResetClearsAPress", "POWERDOWN; RESET guest=true; wait 8s; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_EARLIER; seen RESET (clears: POWERDOWN); seen the "
     "power "
     "button was pressed 8s before the SHUTDOWN, and the guest rebooted since"},
    {"AResetEndsAnOldPress", "POWERDOWN; wait 1s; RESET; wait 10m; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"ARebootMayBeHowAGuestObeys", "POWERDOWN; wait 1s; SHUTDOWN guest-reset; end",
     "USER GUEST_REBOOT_EXIT; caveat POWERDOWN_EARLIER"},
    {"QemusClockDoesNotMatter",
     R"({"event":"POWERDOWN","timestamp":{"seconds":1,"microseconds":0}}; {"event":"SHUTDOWN",)"
     R"("timestamp":{"seconds":1795157000,"microseconds":0},)"
     R"("data":{"guest":true,"reason":"guest-shutdown"}}; end)",
     "ADMIN HOST_POWERDOWN"},
    {"APressBeforeASnapshotDecidesNothing", "POWERDOWN; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"APressBeforeASnapshotLeavesASignal", "POWERDOWN; STOP; RESUME; SHUTDOWN host-signal; end",
     "ADMIN HOST_SIGNAL"},
    {"APressAfterASnapshotCounts",
     "POWERDOWN; STOP; RESUME; POWERDOWN; SHUTDOWN guest-shutdown; end", "ADMIN HOST_POWERDOWN"},
    {"AnIntentSettlesAPressBeforeASnapshot",
     "POWERDOWN; STOP; RESUME; declare; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN; intent intent-1"},
};
STORIES(VmSessionEndTest, PowerButton, kPowerButton);

#define MISSED \
  "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; seen the guest was not followed until "
const StoryCase kMissedPresses[] = {
    {"MayComeBeforeALateAttach", "old; ready; wait 10m; SHUTDOWN guest-shutdown; end",
     MISSED "600 s before the SHUTDOWN; seen monitor attached 1h after"},
    {"MayComeBeforeTheAttachToAQemuThatBoots",
     "young; wait 3s; ready; SHUTDOWN guest-shutdown; end", MISSED "0 s before"},
    {"MayComeBeforeTheShutdownOfAHandshake", "old; SHUTDOWN guest-shutdown; ready; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE POWERDOWN_UNSEEN"},
    {"MayComeWhileAnotherClientHasTheMonitor",
     "new; held; ready; wait 9s; SHUTDOWN guest-shutdown; end", MISSED "9 s before"},
    {"MayComeInARestart", "attach; restart 0s; ready; SHUTDOWN guest-shutdown; end", MISSED "0 s"},
    {"MayComeWhileTheMonitorIsLost", "lost; ready; wait 1m; SHUTDOWN guest-shutdown; end",
     MISSED "60 s before"},
    {"AreOlderThanTheWindow", "lost; ready; wait 10m1ms; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"DoNotMatterAfterAReset", "attach; RESET; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AreNotObeyedByAReboot", "attach; SHUTDOWN guest-reset; end", "USER GUEST_REBOOT_EXIT"},
    {"ARebootWithoutAPanicDeviceMayBeAPanic", "no-panic-device; SHUTDOWN guest-reset; end",
     "USER GUEST_REBOOT_EXIT; caveat NO_PANIC_DEVICE; seen started without a panic device"},
    {"APoweroffWithoutAPanicDeviceIsNone", "no-panic-device; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"DoNotMatterBesideOneThatWasSeen", "attach; POWERDOWN; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    {"MayComeBeforeAVmArrives",
     "new; ready inmigrate; RESUME; wait 1m; SHUTDOWN guest-shutdown; end", MISSED "60 s before"},
    {"CannotComeBeforeANewQemusAttach", "young; ready; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
};
STORIES(VmSessionEndTest, MissedPresses, kMissedPresses);

const StoryCase kPanics[] = {
    {"APausedOneIsACrash",
     "GUEST_PANICKED action=pause; STOP; is GUEST_DOWN; answer guest-panicked; SHUTDOWN "
     "host-qmp-quit; end",
     "CRASH GUEST_PANIC"},
    {"APanicUnderNoRebootIsACrash", "GUEST_PANICKED action=run; SHUTDOWN guest-reset; end",
     "CRASH GUEST_PANIC"},
    {"AResetClearsOne",
     "GUEST_PANICKED action=run; RESET guest=true; is RUNNING; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AResetClearsAllThatCameBeforeIt",
     "POWERDOWN; GUEST_PANICKED action=pause; STOP; RESET; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_EARLIER; seen RESET (clears: POWERDOWN, GUEST_PANICKED "
     "action=pause, STOP)"},
    {"APanicBeforeAReconnectIsInDoubt",
     "GUEST_PANICKED action=run; closed; ready; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"ACrashKernelsPoweroffIsACrash", "GUEST_CRASHLOADED action=run; SHUTDOWN guest-shutdown; end",
     "CRASH GUEST_PANIC"},
    {"ASignalAfterAResumeIsUnknown",
     "GUEST_PANICKED action=pause; STOP; RESUME; is RUNNING; STOP; is PAUSED; RESUME; restart 0s; "
     "ready; SHUTDOWN host-signal; end",
     "UNKNOWN UNOBSERVED; rule snapshot; seen RESUME, perhaps from an earlier snapshot"},
    {"APoweroffAfterAResumeIsUnknown",
     "GUEST_PANICKED action=pause; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"ARebootAfterAResumeIsUnknown",
     "GUEST_PANICKED action=pause; STOP; RESUME; SHUTDOWN guest-reset; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"ACrashAfterAResumeIsACrash", "GUEST_PANICKED action=pause; STOP; RESUME; end SIGSEGV",
     "CRASH GUEST_PANIC"},
    {"APanicAfterASnapshotCounts",
     "GUEST_PANICKED action=pause; STOP; RESUME; STOP; GUEST_PANICKED action=pause; SHUTDOWN "
     "host-qmp-quit; end",
     "CRASH GUEST_PANIC"},
    {"APanicThatIsFoundAfterASnapshotCounts",
     "GUEST_PANICKED action=pause; STOP; RESUME; STOP; attach guest-panicked; SHUTDOWN "
     "host-qmp-quit; end",
     "CRASH GUEST_PANIC"},
    {"APanicThatIsFoundAtAttachIsACrash", "new; ready guest-panicked; SHUTDOWN host-qmp-quit; end",
     "CRASH GUEST_PANIC"},
    {"ARequestByPvpanicIsNone",
     "GUEST_PVSHUTDOWN; last PVSHUTDOWN_REQUESTED; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
};
STORIES(VmSessionEndTest, Panics, kPanics);

const StoryCase kWatchdogs[] = {
    {"APoweroffComesWithoutAShutdown", "WATCHDOG action=poweroff; closed; file removed; gone",
     "CRASH WATCHDOG"},
    {"AShutdownIsNoPressByTheAdmin",
     "WATCHDOG action=shutdown; POWERDOWN; SHUTDOWN guest-shutdown; end", "CRASH WATCHDOG"},
    {"AWatchdogThatOnlyReportsIsNoCause",
     "WATCHDOG action=none; WATCHDOG action=debug; WATCHDOG action=inject-nmi; SHUTDOWN "
     "guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AResetIsAliveAgain", "WATCHDOG action=reset; RESET guest=true; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    // The host has pressed the power button: the guest runs until it obeys.
    {"ARestartLeavesAShutdownInDoubt",
     "WATCHDOG action=shutdown; POWERDOWN; attach; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot; seen WATCHDOG action=shutdown, POWERDOWN"},
    {"AReconnectLeavesAShutdownInDoubt",
     "WATCHDOG action=shutdown; POWERDOWN; lost; wait 1s; ready; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot; seen WATCHDOG action=shutdown, POWERDOWN"},
    {"AStopAndContLeaveAShutdownInDoubt",
     "WATCHDOG action=shutdown; POWERDOWN; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AShutdownCountsInItsWindow",
     "WATCHDOG action=shutdown; POWERDOWN; wait 10m; SHUTDOWN guest-shutdown; end",
     "CRASH WATCHDOG"},
    {"AShutdownThatTheGuestOutlivedIsOver",
     "WATCHDOG action=shutdown; POWERDOWN; wait 10m1s; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_EARLIER; seen the guest ignored its watchdog's"},
    {"AShutdownThatTheGuestOutlivedIsOverAfterARestart",
     "WATCHDOG action=shutdown; POWERDOWN; restart 11m; ready; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT"},
    {"AShutdownThatTheGuestOutlivedLeavesAKill",
     "WATCHDOG action=shutdown; wait 11m; sent SIGKILL bash; end SIGKILL", "ADMIN HOST_KILL"},
    {"AShutdownThatTheGuestObeyedIsNotOutlived",
     "WATCHDOG action=shutdown; SHUTDOWN guest-shutdown; STOP; wait 11m; SHUTDOWN host-signal; end",
     "CRASH WATCHDOG"},
    {"AResumeClearsAPause", "WATCHDOG action=pause; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"ARestartClearsAPause", "WATCHDOG action=pause; STOP; attach; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"AReconnectClearsAPause",
     "WATCHDOG action=pause; STOP; closed; ready; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"APoweroffBeforeAResumeIsInDoubt",
     "WATCHDOG action=poweroff; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"TheLastOneCounts",
     "WATCHDOG action=shutdown; WATCHDOG action=pause; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AResumeClearsAPauseThatWasFound",
     "new; ready watchdog; STOP; RESUME; SHUTDOWN guest-shutdown; end", "USER GUEST_POWEROFF"},
};
STORIES(VmSessionEndTest, Watchdogs, kWatchdogs);

const StoryCase kShutdowns[] = {
    {"AShutdownBeforeAResetDoesNotCount",
     "SHUTDOWN guest-shutdown; STOP; last GUEST_SHUTDOWN USER; is GUEST_DOWN; RESET guest=false; "
     "is "
     "PAUSED; RESUME; is RUNNING; SHUTDOWN host-signal; end",
     "ADMIN HOST_SIGNAL"},
    {"AShutdownBeforeAResumeDoesNotCount",
     "SHUTDOWN guest-shutdown; STOP; RESUME; SHUTDOWN host-qmp-quit; end", "ADMIN HOST_QUIT"},
    {"APauseAndAResetBeforeItLeaveNoTrace", "STOP; RESUME; RESET; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; unseen STOP; unseen RESUME; unseen RESET"},
    {"AShutdownWithoutAReasonIsUnknown", "POWERDOWN; STOP; SHUTDOWN; end 0",
     "UNKNOWN UNOBSERVED; rule shutdown-unexplained"},
    {"AShutdownWithoutAReasonIsUnknownAsTheHostShutsDown", "host down; POWERDOWN; SHUTDOWN; end 0",
     "UNKNOWN UNOBSERVED; rule shutdown-unexplained"},
    {"ACrashAfterAShutdownAndAResetIsACrash", "SHUTDOWN guest-shutdown; RESET; end SIGSEGV",
     "CRASH QEMU_CRASHED"},
    {"TheFirstCounts", "SHUTDOWN guest-shutdown; STOP; wait 1h; SHUTDOWN host-signal; end",
     "USER GUEST_POWEROFF"},
    {"AHibernationIsTheUsers", "SUSPEND_DISK; last HIBERNATING; SHUTDOWN guest-shutdown; end",
     "USER GUEST_HIBERNATE"},
    {"AHibernationThatAResumeHasUndoneIsNone",
     "SUSPEND_DISK; SHUTDOWN guest-shutdown; STOP; RESUME; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; seen SUSPEND_DISK"},
    {"AHibernationThatAResumeMayHaveUndoneIsUnknownWhereAnAgentIsAsked",
     "agent open; SUSPEND_DISK; SHUTDOWN guest-shutdown; STOP; RESUME; host down; SHUTDOWN "
     "guest-shutdown; end",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AHibernationOutranksAnAgentAsTheHostShutsDown",
     "agent open; host down; SUSPEND_DISK; SHUTDOWN guest-shutdown; end",
     "USER GUEST_HIBERNATE; caveat GUEST_AGENT_CONNECTED HOST_SHUTTING_DOWN"},
    {"AReasonFromTheFutureIsReadByItsName", "SHUTDOWN reason=host-new-thing; end",
     "ADMIN HOST_REQUEST"},
    {"AShutdownDecidesBeforeACrash", "SHUTDOWN guest-shutdown; end SIGSEGV", "USER GUEST_POWEROFF"},
    {"AShutdownDecidesBeforeAKill", "SHUTDOWN guest-shutdown; end SIGKILL", "USER GUEST_POWEROFF"},
    {"AShutdownDecidesBeforeAnError", "SHUTDOWN guest-shutdown; end 1", "USER GUEST_POWEROFF"},
    {"AQemuThatStaysIsReportedOnce",
     "SHUTDOWN guest-shutdown; wait 4999ms; events STARTED; is RUNNING; wait 1ms; events STARTED "
     "GUEST_SHUTDOWN; last GUEST_SHUTDOWN USER; is GUEST_DOWN; STOP; wait 1h; asked 0; RESET; is "
     "PAUSED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AQemuThatStaysWithItsMonitorOpenIsAProblem",
     "SHUTDOWN guest-shutdown; wait 9999ms; no problem; wait 1ms; problem has not exited for 10 s; "
     "restart 5s; wait 1ms; problem has not exited for 15 s; end",
     "USER GUEST_POWEROFF"},
    {"AQemuThatStaysByNoShutdownIsNoProblemBeforeItIsAskedToEnd",
     "SHUTDOWN guest-shutdown; STOP; wait 1h; no problem; SHUTDOWN host-qmp-quit; closed; wait "
     "10s; "
     "problem has not exited for 10 s; gone",
     "USER GUEST_POWEROFF"},
    {"AQemuThatAnswersIsNoProblem",
     "SHUTDOWN guest-shutdown; closed; wait 11s; problem has not exited; ready shutdown; no "
     "problem; wait 1h; no problem; end",
     "USER GUEST_POWEROFF"},
    {"ARestartDoesNotForgetAQemuThatStays",
     "SHUTDOWN guest-shutdown; restart 6s; wait 0s; last GUEST_SHUTDOWN; gone",
     "USER GUEST_POWEROFF"},
    {"AShutdownOutranksTheRunStateOfTheHandshake",
     "new; SHUTDOWN guest-shutdown; ready; is GUEST_DOWN; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen did not know yet"},
    // A SHUTDOWN that names nobody, and what else the handshake shows.
    {"AMigrationOutranksOne", "new; SHUTDOWN; ready postmigrate; is GUEST_DOWN; gone",
     "ADMIN MIGRATED_AWAY"},
    {"APanicOutranksOne", "new; SHUTDOWN; ready guest-panicked; is GUEST_DOWN; gone",
     "CRASH GUEST_PANIC"},
    {"AWatchdogOutranksOne", "new; SHUTDOWN; ready watchdog; is GUEST_DOWN; gone",
     "CRASH WATCHDOG"},
    {"AShutdownWithoutAReasonIsUnknownIfTheGuestIsDown",
     "new; SHUTDOWN; ready shutdown; is GUEST_DOWN; gone", "UNKNOWN UNOBSERVED; file none"},
    {"AResetInTheHandshakeTakesOneBack",
     "new; SHUTDOWN guest-shutdown; RESET guest=false; ready; is RUNNING; end",
     "UNKNOWN PROCESS_EXITED"},
    // A reset and a `cont` that nobody saw explain why it runs.
    {"AShutdownInAHandshakeIsTakenBackByTheNextHandshake",
     "closed; SHUTDOWN guest-shutdown; closed; ready; is RUNNING; gone", "UNKNOWN PROCESS_EXITED"},
    {"AShutdownBeforeTheAttachIsUnknown",
     "new; ready shutdown; is GUEST_DOWN; SHUTDOWN host-qmp-quit; end", "UNKNOWN UNOBSERVED"},
    {"EvidenceThatAReconnectClearsNamesTheReconnect",
     "POWERDOWN; SHUTDOWN guest-shutdown; STOP; attach; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; unseen RESUME; seen Seen: POWERDOWN, ; seen query-status running (clears: "
     "SHUTDOWN"},
};
STORIES(VmSessionEndTest, Shutdowns, kShutdowns);

const StoryCase kFiles[] = {
    {"TheFileIsThereAtEof",
     "SHUTDOWN guest-shutdown; file none; closed; file written; wait 3s; events STARTED; gone",
     "USER GUEST_POWEROFF"},
    {"TheFileIsThereAtEofOfTheFirstHandshake",
     "new; SHUTDOWN guest-shutdown; file none; closed; file written; wait 100ms; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE"},
    {"TheFileIsThereAtEofOfAHandshakeAfterARestart",
     "restart; SHUTDOWN guest-shutdown; file none; closed; file written; gone",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"TheFileIsThereAtEofOfALaterHandshake",
     "lost; SHUTDOWN guest-shutdown; file none; closed; file written; gone",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"WithoutAShutdownItFollowsTheProcess", "closed; file none; gone", "UNKNOWN PROCESS_EXITED"},
    {"AnEndThatWasNoneDoesNotDecideTheNext",
     "SHUTDOWN host-qmp-quit; closed; file removed; wait 5s; RESET; SHUTDOWN guest-shutdown; "
     "closed; file written; gone",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN"},
    {"AVmThatCameBackToLifeTakesItBack",
     "SHUTDOWN guest-shutdown; closed; file written; wait 5s; is GUEST_DOWN; wait 1m; problem QEMU "
     "has not exited for; ready; is RUNNING; no problem; file removed; SHUTDOWN guest-shutdown; "
     "end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; file written"},
    {"AVmThatLivesOnAfterARestartTakesItBack",
     "SHUTDOWN guest-shutdown; closed; file written; restart; attach; file removed; events "
     "STARTED; "
     "end",
     "UNKNOWN PROCESS_EXITED"},
    {"AGuestThatIsDownAfterARestartLeavesItUntilItsReset",
     "SHUTDOWN guest-shutdown; closed; attach shutdown; file written; RESET; file removed; end",
     "UNKNOWN PROCESS_EXITED"},
};
STORIES(VmSessionEndTest, Files, kFiles);

const StoryCase kMonitors[] = {
    {"AMonitorThatAnotherClientHoldsShowsNothing",
     "new; held; last STARTED; is UNREACHABLE; problem held by another client; gone",
     "UNKNOWN UNOBSERVED; file none"},
    {"AMonitorThatAnotherClientHeldIsRestored",
     "new; held; held; ready; events STARTED MONITOR_RESTORED; no problem; end",
     "UNKNOWN PROCESS_EXITED"},
    {"ALostOneShowsNothingOfALaterEnd", "lost; last MONITOR_LOST; wait 5h; gone 0",
     "UNKNOWN UNOBSERVED; rule unobserved; file none"},
    {"ALostOneThatIsTriedAgainShowsNothing", "lost; wait 5h; closed; gone 0",
     "UNKNOWN UNOBSERVED; rule unobserved; file none"},
    {"ALostOneLeavesWhatTheKernelReports", "closed; wait 5h; gone SIGSEGV", "CRASH QEMU_CRASHED"},
    {"AMonitorThatIsBackAtOnceShowsTheEnd", "closed; ready; end", "UNKNOWN PROCESS_EXITED"},
    {"EofOfALivingProcessIsNoEnd",
     "closed; wait 999ms; events STARTED; wait 1ms; events STARTED MONITOR_LOST; is UNREACHABLE; "
     "problem MONITOR_LOST; "
     "ready; last MONITOR_RESTORED; is RUNNING; no problem; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AMonitorThatClosedInItsHandshakeShowsNothingOfALaterEnd",
     "new; MEMORY_FAILURE; closed; wait 5h; gone 0", "UNKNOWN UNOBSERVED"},
    {"AStateThatChangedUnseenIsAGap",
     "lost; ready paused; events STARTED MONITOR_LOST MONITOR_RESTORED GAP PAUSED; gap "
     "UNSEEN_CHANGE; is PAUSED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AnEventBeforeTheRepliesFollowsStarted",
     "new; POWERDOWN; is UNREACHABLE; ready; events STARTED POWERDOWN_REQUESTED STATE_CHANGED; is "
     "RUNNING; end",
     "UNKNOWN PROCESS_EXITED"},
    {"TheFirstResumeOfAStartIsNoNews", "new; RESUME; ready; events STARTED; end",
     "UNKNOWN PROCESS_EXITED"},
    {"EventsThatAreNoLifecycleAreNotPublished",
     "RTC_CHANGE offset=78; NIC_RX_FILTER_CHANGED; events STARTED; end", "UNKNOWN PROCESS_EXITED"},
    {"OneRebootIsOneReset",
     "RESET guest=true; wait 25ms; RESET guest=true; wait 25ms; RESET guest=true; wait 20s; RESET "
     "guest=true; events STARTED RESET RESET; end",
     "UNKNOWN PROCESS_EXITED"},
    {"PausesAndSleepsAreStates",
     "STOP; is PAUSED; RESUME; is RUNNING; events STARTED PAUSED RESUMED; SUSPEND; is SUSPENDED; "
     "WAKEUP; is RUNNING; end",
     "UNKNOWN PROCESS_EXITED"},
    {"AnIoErrorIsAProblemUntilAResume",
     "BLOCK_IO_ERROR device=d action=stop; STOP; answer io-error; problem IO_ERROR; RESUME; no "
     "problem; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; unseen I/O error"},
    {"AnIoErrorIsAProblemUntilAReset",
     "BLOCK_IO_ERROR device=d action=stop; STOP; RESET; no problem; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; unseen I/O error"},
    {"AnIoErrorThatTheGuestGetsIsNoProblem",
     "BLOCK_IO_ERROR device=d operation=read action=report; no problem; last IO_ERROR; end",
     "UNKNOWN PROCESS_EXITED"},
    // KVM cannot run the guest any more: QEMU sends STOP alone.
    {"AnInternalErrorIsACrash",
     "STOP; answer internal-error; problem INTERNAL_ERROR; restart 0s; ready internal-error; "
     "SHUTDOWN host-qmp-quit; end 0",
     "CRASH HOST_ERROR; rule internal-error; seen query-status internal-error"},
    {"AnInternalErrorThatIsFoundIsACrash",
     "new; ready internal-error; problem INTERNAL_ERROR; SHUTDOWN host-qmp-quit; end 0",
     "CRASH HOST_ERROR; rule internal-error"},
    {"AResetLeadsOutOfAnInternalError",
     "STOP; answer internal-error; RESET; RESUME; no problem; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF"},
};
STORIES(VmSessionEndTest, Monitors, kMonitors);

const StoryCase kExits[] = {
    {"ByAKill", "end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen exit signal 9 (SIGKILL)"},
    {"BySegv", "end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"ByAbort", "end SIGABRT", "CRASH QEMU_CRASHED"},
    {"ByBus", "end SIGBUS", "CRASH QEMU_CRASHED"},
    {"ByTerm", "end SIGTERM", "ADMIN HOST_SIGNAL"},
    {"ByInt", "end SIGINT", "ADMIN HOST_SIGNAL"},
    {"ByHup", "end SIGHUP", "ADMIN HOST_SIGNAL"},
    {"WithAnError", "end 1", "CRASH QEMU_CRASHED"},
    {"ByTheOomKiller", "end SIGKILL oom", "CRASH OUT_OF_MEMORY; seen OOM kill"},
    {"NotKnownHow", "end", "UNKNOWN PROCESS_EXITED; seen exit status not known"},
    {"InOrder", "end 0", "UNKNOWN UNOBSERVED; rule clean-exit"},
    {"ByADebugger", "STOP; restart 0s; ready debug; end 0", "ADMIN HOST_REQUEST; rule paused-exit"},
    {"WhileTheDaemonWasAway", "restart; gone SIGABRT", "CRASH QEMU_CRASHED"},
    {"OfAProcessThatIsNotTracked", "untracked; ready; end SIGKILL",
     "UNKNOWN PROCESS_EXITED; may still run"},
    {"ByADeviceOfTheGuests", "new; can-exit yes; ready; restart 0s; can-exit no; ready; end 99",
     "USER GUEST_REQUEST"},
    {"BySemihosting", "new; can-exit yes; ready; end 2", "USER GUEST_REQUEST"},
    {"WithOneOfADevice", "new; can-exit yes; ready; end 1",
     "UNKNOWN UNOBSERVED; rule exit-unclear"},
    {"InOrderDespiteADevice", "new; can-exit yes; ready; end 0", "UNKNOWN UNOBSERVED"},
    {"BySegvDespiteADevice", "new; can-exit yes; ready; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"WithACodeAndNoDevice", "end 3", "CRASH QEMU_CRASHED"},
    {"BySegvWhileAnotherHadTheMonitor", "new; held; gone SIGSEGV", "CRASH QEMU_CRASHED"},
    {"ByAKillWhileAnotherHadTheMonitor", "new; held; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"ByTermWhileAnotherHadTheMonitor", "new; held; gone SIGTERM", "ADMIN HOST_SIGNAL"},
    {"WithAnErrorWhileAnotherHadTheMonitor", "new; held; gone 1", "CRASH QEMU_CRASHED"},
    {"InOrderWhileAnotherHadTheMonitor", "new; held; gone 0", "UNKNOWN UNOBSERVED"},
    {"SoonAfterTheStart", "young; wait 1s; held; problem STARTING; gone 1", "UNKNOWN NEVER_RAN"},
    {"WithAnErrorBeforeTheGreeting", "young; wait 16s; held; gone 1",
     "UNKNOWN NEVER_RAN; seen no greeting came in the 16 s of QEMU's life"},
    {"WithoutAnAttach", "old; wait 30s; held; gone SIGSEGV",
     "CRASH QEMU_CRASHED; unseen monitor attached; seen another client held the monitor"},
    {"ByAbortBeforeTheGreeting", "young; wait 16s; held; gone SIGABRT", "UNKNOWN NEVER_RAN"},
    {"ByAKillBeforeTheGreeting", "young; wait 16s; held; gone SIGKILL", "UNKNOWN NEVER_RAN"},
    {"ByTermBeforeTheGreeting", "young; wait 16s; held; gone SIGTERM", "ADMIN HOST_SIGNAL"},
    // Another client may have its monitor.
    {"LongAfterTheStart",
     "young; wait 15s; held; problem STARTING; wait 105s; held; problem NO_GREETING; gone 1",
     "CRASH QEMU_CRASHED"},
    {"AfterTheGreeting", "young; ready; end 1", "CRASH QEMU_CRASHED"},
};
STORIES(VmSessionEndTest, Exits, kExits);

}  // namespace
}  // namespace vmeventd
