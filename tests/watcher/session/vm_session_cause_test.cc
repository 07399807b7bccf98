// Causes of a run's end: the host, a sender of signals, an agent, an intent, a migration, a
// restart.

#include "gtest/gtest.h"
#include "tests/watcher/session/story.h"

namespace vmeventd {
namespace {

class VmSessionCauseTest : public testing::TestWithParam<StoryCase> {};

TEST_P(VmSessionCauseTest, IsJudged) { Story(GetParam().steps).ExpectVerdict(GetParam().verdict); }

TEST_P(VmSessionCauseTest, IsJudgedTheSameAfterHandovers) {
  Story(GetParam().steps, Story::Before::kHandover).ExpectVerdict(GetParam().verdict);
}

TEST_P(VmSessionCauseTest, IsJudgedTheSameOrUnknownAfterRestarts) {
  Story(GetParam().steps, Story::Before::kRestart).ExpectVerdict(GetParam().verdict);
}

const StoryCase kHostShutdowns[] = {
    {"ASignal", "host down; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown; seen the host began to shut down, reported by "
     "systemd-logind"},
    {"AQuit", "host down; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AWindowsEnd", "host down; SHUTDOWN host-ui; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"APressThatIsObeyed", "host down; POWERDOWN; wait 40s; SHUTDOWN guest-shutdown; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"APressBeforeIsTheCause", "POWERDOWN; wait 10s; host down; SHUTDOWN guest-shutdown; end 0",
     "ADMIN HOST_POWERDOWN"},
    {"AGuestThatPowersItselfOffHasACaveat", "host down; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; caveat HOST_SHUTTING_DOWN; seen the host began to shut down"},
    {"AGuestWithAnAgentWasAsked", "agent open; host down; SHUTDOWN guest-shutdown; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown-agent; seen guest agent connected"},
    {"AShutdownBeforeIsTheGuests", "SHUTDOWN guest-shutdown; host down; end 0",
     "USER GUEST_POWEROFF"},
    {"ACancelledOneIsNone", "host down; wait 5s; host up; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; seen the host's shutdown was cancelled, reported by systemd-logind"},
    {"AKillOfSystemd", "host down; sent SIGKILL systemd; end SIGKILL",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown-end"},
    {"AKillWithoutASenderIsUnknown", "host down; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AnEndThatIsNotKnownHowIsUnknown", "host down; end", "UNKNOWN PROCESS_EXITED"},
    {"AKillForMemoryIsACrash", "host down; sent SIGKILL earlyoom; end SIGKILL",
     "CRASH OUT_OF_MEMORY"},
    {"AKillOfTheKernelIsACrash", "host down; sent SIGKILL kernel; end SIGKILL",
     "CRASH QEMU_KILLED"},
    {"ACrashIsOne", "host down; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"APanicIsOne", "host down; GUEST_PANICKED action=poweroff; SHUTDOWN guest-panic; end 0",
     "CRASH GUEST_PANIC"},
    {"AnExitInOrderIsUnknown", "host down; end 0", "UNKNOWN UNOBSERVED"},
    {"AnEndThatNobodySawIsUnknown", "host down; restart; gone", "UNKNOWN UNOBSERVED"},
    {"ALauncherThatEndsShowsNothing", "closed; wait 5m; host down; gone", "UNKNOWN UNOBSERVED"},
    {"ALauncherThatEndsInOrderShowsNothing", "closed; wait 5m; host down; gone 0",
     "UNKNOWN UNOBSERVED"},
    // Files of monitors' directories went with the host.
    {"ARunThatWasOpenEndedByIt", "host down; restart; rebooted",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown-unseen; file none"},
    {"ARunThatWasDecidedEndedUnseen", "GUEST_PANICKED action=pause; host down; restart; rebooted",
     "UNKNOWN UNOBSERVED; rule host-rebooted"},
    {"ARebootAloneIsUnknown", "SHUTDOWN guest-shutdown; restart; rebooted",
     "UNKNOWN UNOBSERVED; rule host-rebooted; file none; seen SHUTDOWN reason=guest-shutdown; seen "
     "the host was rebooted"},
    {"ItsBeginningOutlivesARestart",
     "host down; attach; host down; POWERDOWN; SHUTDOWN guest-shutdown; restart 0s; gone",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AResetDoesNotEndIt", "host down; RESET; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"SystemdShutdownShowsIt", "sent SIGTERM systemd-shutdow pid=1; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"Killall5ShowsIt", "sent SIGTERM killall5 pid=1; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AUsersKillall5DoesNot", "sent SIGTERM killall5 uid=1000; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL"},
    {"AContainersIsNotTheHosts", "sent SIGTERM systemd-shutdow; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL"},
    {"AVmThatNeverRanStaysUnknown", "new; ready inmigrate; host down; end SIGKILL",
     "UNKNOWN NEVER_RAN; never ran"},
};
STORIES(VmSessionCauseTest, HostShutdowns, kHostShutdowns);

// Nobody listens for a time, in which a reset may have come.
const StoryCase kUnseenResets[] = {
    {"APanicBeforeMayBeOver",
     "GUEST_PANICKED action=run; lost; ready; SHUTDOWN host-qmp-quit; end 0",
     "UNKNOWN UNOBSERVED; rule snapshot; seen the VM was not followed for a time: it may have been "
     "reset"},
    {"APanicThatTheRunStateShowsIsNot",
     "GUEST_PANICKED action=pause; restart; attach guest-panicked; SHUTDOWN host-qmp-quit; end 0",
     "CRASH GUEST_PANIC"},
    {"AWatchdogBeforeMayBeOver", "WATCHDOG action=reset; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AWatchdogThatEndedQemuIsNot", "WATCHDOG action=poweroff; lost; gone 0", "CRASH WATCHDOG"},
    {"AWatchdogThatEndedQemuIsNotOverARestart", "WATCHDOG action=poweroff; restart; gone",
     "CRASH WATCHDOG"},
    {"APressBeforeMayBeVoid", "POWERDOWN; restart; attach; SHUTDOWN guest-shutdown; end 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"APressOnTheNewConnectionCounts", "lost; POWERDOWN; ready; SHUTDOWN guest-shutdown; end 0",
     "ADMIN HOST_POWERDOWN"},
    {"AHibernationBeforeIsOver", "SUSPEND_DISK; lost; ready; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; unseen SUSPEND_DISK"},
    {"AnInternalErrorBeforeMayBeOver", "STOP; answer internal-error; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AnInternalErrorBeforeAQuitIsNot",
     "stays-down; STOP; answer internal-error; SHUTDOWN host-qmp-quit; restart; gone",
     "CRASH HOST_ERROR"},
    // `cont` resumes a VM whose migration is complete.
    {"AMigrationBeforeMayBeOver", "STOP; answer postmigrate; restart; gone",
     "UNKNOWN UNOBSERVED; rule snapshot; seen it may have been reset or resumed"},
    {"AMigrationThatQemuReportedMayBeOver",
     "MIGRATION status=active; STOP; MIGRATION status=completed; restart; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AMigrationThatIsFoundAgainIsNot",
     "STOP; answer postmigrate; restart; ready postmigrate; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN MIGRATED_AWAY"},
    {"AMigrationBeforeAQuitChangesNoClass",
     "STOP; answer postmigrate; lost; SHUTDOWN host-qmp-quit; gone 0", "ADMIN MIGRATED_AWAY"},
    {"AMigrationThatLibvirtReportedIsFinal", "libvirt; ready; reported migrated; restart; gone",
     "ADMIN MIGRATED_AWAY; file none"},
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
    {"AGuestThatWasDownMayHaveComeUpForAnotherClient",
     "stays-down; SHUTDOWN guest-shutdown; STOP; closed; wait 1m; held; gone 0",
     "UNKNOWN UNOBSERVED; rule snapshot"},
    {"AGuestThatWasDownWhoseQemuExitsSlowlyHasNotComeUp",
     "stays-down; SHUTDOWN guest-shutdown; STOP; closed; wait 1m; gone 0", "USER GUEST_POWEROFF"},
    {"AQuitIsFinal", "stays-down; SHUTDOWN host-qmp-quit; restart; gone", "ADMIN HOST_QUIT"},
    {"AShutdownThatEndsQemuIsFinal", "POWERDOWN; SHUTDOWN guest-shutdown; restart; gone",
     "ADMIN HOST_POWERDOWN"},
};
STORIES(VmSessionCauseTest, UnseenResets, kUnseenResets);

const StoryCase kSenders[] = {
    {"AnotherProcessIsTheHosts", "sent SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; may not run; parent lives; container 0 none; rule killed-by-host; sender "
     "virtqemud; seen SIGKILL sent by virtqemud (pid "
     "812, uid 0, /system.slice/virtqemud.service)"},
    {"OneWhoLoggedInIsNamed", "sent SIGKILL bash login=1000; end SIGKILL",
     "ADMIN HOST_KILL; sender bash; login alice 1000 12 192.0.2.7; seen logged in as alice, "
     "session "
     "12, from 192.0.2.7)"},
    {"FactsThatWereReadBeforeItWasGoneStay",
     "sent SIGKILL virtqemud; sent SIGKILL rpc-virtqemud bare; end SIGKILL",
     "ADMIN HOST_KILL; sender virtqemud"},
    {"OneThatIsNotKnownIsUnknown", "end SIGKILL", "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"OneThatIsNotKnownLeavesTheOomKill", "end SIGKILL oom", "CRASH OUT_OF_MEMORY"},
    {"QemuItselfIsACrash", "sent SIGKILL qemu-system-x86 own; end SIGKILL",
     "CRASH QEMU_KILLED; sender qemu-system-x86; unseen not recorded"},
    {"OneThatQemuMayHaveStartedIsUnknown", "sent SIGKILL bash orphan; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender bash; seen SIGKILL sent by bash (pid 812, uid "
     "0, /system.slice/virtqemud.service, perhaps QEMU's own: what started it is gone)"},
    {"OneThatQemuMayHaveStartedIsTheAdminsWhoIntendedIt",
     "declare; sent SIGKILL bash orphan; end SIGKILL", "ADMIN UNOBSERVED; intent intent-1"},
    {"OneThatQemuMayHaveStartedIsNoProofAsTheHostShutsDown",
     "host down; sent SIGKILL bash orphan; end SIGKILL", "UNKNOWN UNOBSERVED"},
    {"TheKernelsWithItsParentIsUnknown", "sent SIGKILL parent; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender kernel; parent ended; seen SIGKILL sent by "
     "the "
     "kernel, because its parent python3 (pid 812) or a thread of it ended (its death signal)"},
    {"TheKernelsWithItsTracerIsUnknown", "sent SIGKILL tracer; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender kernel; seen SIGKILL sent by the kernel, "
     "because gdb (pid 812) ended, which traced it"},
    {"AnOomKillOfItsParentIsNotItsOwn", "sent SIGKILL parent; end SIGKILL oom",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"TheKernelsWithTheParentOfItsContainerIsUnknown",
     "sent SIGKILL parent container=SIGKILL; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen ended after a SIGKILL of the kernel, because"},
    {"ItsParentThatEndsWithTheHostEndsByThat", "host down; sent SIGKILL parent; end SIGKILL",
     "ADMIN HOST_SHUTDOWN"},
    {"ASigtermWithItsParentIsUnknown", "sent SIGTERM parent; SHUTDOWN host-signal; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear; sender kernel"},
    {"ASigtermWithItsParentThatEndsItIsUnknown", "sent SIGTERM parent; end SIGTERM",
     "UNKNOWN UNOBSERVED; rule signal-unclear"},
    {"AnOldQemusSigtermWithItsParentIsUnknown", "sent SIGTERM parent; SHUTDOWN guest=false; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear"},
    {"ASigquitWithItsParentIsUnknown", "sent SIGQUIT parent; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AMemoryKillerThatQemuMayHaveStartedIsUnknown", "sent SIGKILL earlyoom orphan; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AMemoryKillersSigtermThatQemuMayHaveSentIsUnknown",
     "sent SIGTERM earlyoom orphan; SHUTDOWN host-signal; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear; sender earlyoom"},
    {"ASigtermThatQemuMayHaveSentIsObeyed", "sent SIGTERM bash orphan; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender bash"},
    {"TheKernelIsACrash", "sent SIGKILL kernel; end SIGKILL",
     "CRASH QEMU_KILLED; sender kernel; seen SIGKILL sent by the kernel"},
    {"OneThatKillsTheContainerIsTheHosts",
     "sent SIGKILL runc container=SIGKILL; restart 0s; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; container 4700 SIGKILL; seen SIGKILL sent by the kernel, "
     "because "
     "the first process of its container (pid 4700) ended after a SIGKILL of runc (pid 812, uid "
     "0,"},
    {"OneThatEndsTheContainerIsTheHosts",
     "sent SIGKILL runc container=SIGTERM; restart 0s; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; seen ended after a SIGTERM of runc (pid 812, uid 0,"},
    {"AContainerThatEndsByItselfIsUnknown",
     "sent SIGKILL kernel container=0; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen SIGKILL sent by the kernel, because the first "
     "process of its container (pid 4700) ended,"},
    {"AContainerThatTheKernelKillsIsACrash",
     "sent SIGKILL kernel container=SIGKILL; restart 0s; end SIGKILL",
     "CRASH QEMU_KILLED; sender kernel"},
    {"AContainerOfAVictimHidesNothing", "sent SIGKILL kernel container=0; victim; end SIGKILL",
     "CRASH OUT_OF_MEMORY"},
    {"AContainerOfAVictimThatWasAskedHidesNothing",
     "sent SIGKILL runc container=SIGTERM; victim; end SIGKILL", "CRASH OUT_OF_MEMORY"},
    {"AContainerThatEndsWithItsHostEndsByThat",
     "host down; sent SIGKILL kernel container=0; end SIGKILL", "ADMIN HOST_SHUTDOWN"},
    {"TheKernelsVictimIsOutOfMemory", "victim; end SIGKILL",
     "CRASH OUT_OF_MEMORY; seen the kernel named it as its OOM victim,"},
    {"ASignalThatIsObeyedLateIsAProblem",
     "sent SIGTERM virtqemud; wait 15s; problem SIGTERM sent by; SHUTDOWN host-signal; no problem; "
     "wait 10s; problem has not exited for 10 s after its shutdown; sent SIGKILL bash; wait 10s; "
     "problem SIGKILL sent by bash; end SIGKILL",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen SIGTERM sent by virtqemud; seen SIGKILL sent by "
     "bash"},
    {"ASigquitIsTheHosts", "sent SIGQUIT bash; end SIGQUIT",
     "ADMIN HOST_KILL; rule ended-by-host; sender bash"},
    {"ASigquitThatQemuMayHaveSentIsUnknown", "sent SIGQUIT bash orphan; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"ASigquitThatNobodySawIsUnknown", "end SIGQUIT unrecorded",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender; seen QEMU was ended by SIGQUIT; seen "
     "sender not recorded"},
    {"ASigquitBeforeAnotherSignalIsNotSeen",
     "sent SIGQUIT bash; sent SIGTERM virtqemud; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender"},
    {"ASigquitOfQemusIsACrash", "sent SIGQUIT bash own; end SIGQUIT", "CRASH QEMU_CRASHED"},
    {"ASigabrtIsACrash", "sent SIGABRT bash; end SIGABRT", "CRASH QEMU_CRASHED"},
    {"ASigsegvIsACrash", "sent SIGSEGV bash; end SIGSEGV", "CRASH QEMU_CRASHED"},
    // QEMU before 4.0 gives no reason.
    {"AnOldQemuObeysASigterm", "sent SIGTERM virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; rule host-signal; sender virtqemud; file removed"},
    {"AnOldQemuObeysASigint", "sent SIGINT virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnOldQemuObeysASighup", "sent SIGHUP virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnOldQemuObeysAMemoryKiller", "sent SIGTERM earlyoom; SHUTDOWN guest=false; end 0",
     "CRASH OUT_OF_MEMORY"},
    {"AnOldQemusShutdownBeforeTheSignalIsAnybodys",
     "SHUTDOWN guest=false; sent SIGTERM virtqemud; end 0", "ADMIN HOST_REQUEST; no sender"},
    {"AnOldQemusOwnSignalIsNoAnswer", "sent SIGTERM virtqemud own; SHUTDOWN guest=false; end 0",
     "ADMIN HOST_REQUEST; no sender"},
    {"ASignalExplainsNoShutdownThatNamesNobody", "sent SIGTERM virtqemud; SHUTDOWN; end 0",
     "UNKNOWN UNOBSERVED; rule shutdown-unexplained; no sender"},
    {"EarlyoomAsksFirst",
     "declare; sent SIGTERM earlyoom; SHUTDOWN host-signal; sent SIGKILL bash; end SIGKILL",
     "CRASH OUT_OF_MEMORY; rule memory-killer; sender earlyoom; intent intent-1"},
    {"NohangAsksFirst", "sent SIGTERM nohang; SHUTDOWN host-signal; end 0",
     "CRASH OUT_OF_MEMORY; rule memory-killer; sender nohang"},
    {"AMemoryKillersSignalBeforeAnothersEndedNothing",
     "sent SIGTERM earlyoom; sent SIGTERM systemd; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL"},
    {"AMemoryKillersSignalBeforeAQuitEndedNothing",
     "sent SIGTERM earlyoom; SHUTDOWN host-qmp-quit; end 0", "ADMIN HOST_QUIT"},
    {"AMemoryKillersSignalAtTheStartIsACrashOnceItRan", "sent SIGTERM earlyoom; end SIGTERM",
     "CRASH OUT_OF_MEMORY"},
    {"AMemoryKillersSignalBeforeItRanIsASignal",
     "new; ready prelaunch; sent SIGTERM earlyoom; end SIGTERM", "ADMIN HOST_SIGNAL"},
    {"AMemoryKillersNameIsNotBelievedOfQemusUser",
     "sent SIGKILL earlyoom uid=107 user; restart 0s; end SIGKILL", "ADMIN HOST_KILL"},
    {"AnOomKillOfANeighbourHidesNobody", "sent SIGKILL virtqemud; end SIGKILL oom",
     "ADMIN HOST_KILL"},
    {"AnOomKillOfAHelperDoesNotHideQemu", "sent SIGKILL helper own; victim; end SIGKILL oom",
     "CRASH QEMU_KILLED"},
    {"ASignalAfterTheOneThatWasObeyedEndedNothing",
     "sent SIGHUP first; sent SIGTERM virtqemud; SHUTDOWN host-signal; sent SIGTERM late; sent "
     "SIGINT later; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen SIGTERM sent by virtqemud; unseen late"},
    {"TheTimelineHasTheLastOfManySignals",
     "POWERDOWN; sent SIGTERM one; sent SIGTERM two; sent SIGTERM one; sent SIGTERM two; sent "
     "SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; seen POWERDOWN; seen SIGTERM sent by two; unseen SIGTERM sent by one"},
    {"ASignalThatDidNotEndItHasNone", "sent SIGTERM virtqemud; SHUTDOWN guest-shutdown; end 0",
     "USER GUEST_POWEROFF; no sender"},
    {"AnExitBySignalHasItsOwn", "sent SIGTERM virtqemud; end SIGTERM",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnExitByAnotherSignalHasNone", "sent SIGHUP virtqemud; end SIGTERM",
     "ADMIN HOST_SIGNAL; no sender"},
    {"AKillThatWasSeenNeedsNoExitStatus", "sent SIGKILL virtqemud; end", "ADMIN HOST_KILL"},
    {"TheReasonWhyNobodySawItIsEvidence", "end SIGKILL unrecorded",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender; seen sender not recorded"},
};
STORIES(VmSessionCauseTest, Senders, kSenders);

const StoryCase kSentences[] = {
    {"ASendersNamesIt", "sent SIGTERM virtqemud; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen virtqemud (pid 812, uid 0, ; seen ) sent QEMU "
     "SIGTERM. Seen:"},
    {"ASignalsNamesIt", "end SIGHUP", "ADMIN HOST_SIGNAL; seen QEMU was ended by SIGHUP"},
    {"ASignalsThatIsNotKnownSaysSo", "SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; seen the host sent QEMU a signal to end"},
    {"AnErrorsHasItsCode", "end 1",
     "CRASH QEMU_CRASHED; seen QEMU exited with code 1: an error of its own. Seen:"},
    {"AnAbortsIsQemus", "end SIGABRT",
     "CRASH QEMU_CRASHED; seen QEMU was killed by SIGABRT: a crash of QEMU itself. Seen:"},
    {"AnAbortOfAnothersHasTheSender", "sent SIGABRT bash; end SIGABRT",
     "CRASH QEMU_CRASHED; sender bash; seen ) sent QEMU SIGABRT, which counts as a crash of QEMU. "
     "Seen:"},
    {"AFaultsHasNoSender", "end SIGSEGV",
     "CRASH QEMU_CRASHED; seen QEMU was killed by SIGSEGV, whose sender is not recorded: it counts "
     "as a crash of QEMU. Seen:"},
    {"AContainersHasTheSenderOfItsEnd", "sent SIGKILL runc container=SIGTERM; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; seen ) sent the first process of QEMU's container SIGTERM, "
     "with which the kernel killed QEMU. Seen:"},
    {"APowerdownsHasItsAge", "POWERDOWN; wait 4s; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN; seen the host pressed the power button, and the guest obeyed after 4 "
     "s. Seen:"},
};
STORIES(VmSessionCauseTest, Sentences, kSentences);

#define TERMINATING "terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)"
const StoryCase kWords[] = {
    {"ASignalThatOnlyTheyTellOfIsTheHosts", "words journal " TERMINATING "; end 0",
     "ADMIN HOST_SIGNAL; rule host-signal-words; sender virtqemud"},
    {"WhatTheKernelShowedStands", "words journal " TERMINATING "; sent SIGTERM bash pid=813; end 0",
     "UNKNOWN UNOBSERVED; unseen virtqemud (pid 812, as QEMU"},
    {"TheyMakeNoSegvTheHosts", "words journal " TERMINATING "; end SIGSEGV", "CRASH QEMU_CRASHED"},
    {"TheyMakeNoKillTheHosts", "words journal " TERMINATING "; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"TheyMakeNoErrorTheHosts", "words journal " TERMINATING "; end 1", "CRASH QEMU_CRASHED"},
    {"AFileThatOthersMayWriteDecidesNothing", "words file " TERMINATING "; end 0",
     "UNKNOWN UNOBSERVED; no sender"},
    {"AMemoryKillersNameInThemMakesNoCrash",
     "words journal terminating on signal 15 from pid 812 (/usr/bin/earlyoom); SHUTDOWN "
     "host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender earlyoom"},
};
STORIES(VmSessionCauseTest, Words, kWords);

// A QEMU that stays when its guest is down, unseen.
const StoryCase kDowns[] = {
    {"ASigtermIsUnknown",
     "new; stays-down; held; words file terminating on signal 15 from pid 812 (bash); sent SIGTERM "
     "bash; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen; seen another client held the monitor"},
    {"AKillIsUnknown", "new; stays-down; held; sent SIGKILL bash; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AKillAfterARestartIsUnknown", "stays-down; lost; restart; sent SIGKILL bash; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AKillOfWhichNobodySawTheSenderIsUnknown", "stays-down; lost; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AMonitorThatIsFollowedShowsAKill", "stays-down; sent SIGKILL bash; end SIGKILL",
     "ADMIN HOST_KILL"},
    {"AQemuThatDoesNotStayWasNotDown", "lost; sent SIGKILL bash; gone SIGKILL", "ADMIN HOST_KILL"},
    {"ACrashIsACrash", "stays-down; lost; gone SIGSEGV", "CRASH QEMU_CRASHED"},
    {"LibvirtEndsOneThatItFinds",
     "libvirt; ready; lost; words file " TERMINATING "; sent SIGTERM virtqemud; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen; sender virtqemud"},
    {"LibvirtThatIsBackEndsOneThatItFinds",
     "libvirt; ready; lost; words file " TERMINATING
     "; sent SIGTERM virtqemud; ready; reported shutdown; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtIsNamedByWordsAlone", "libvirt; ready; lost; words journal " TERMINATING "; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtKillsOneThatItFinds", "libvirt; ready; lost; sent SIGKILL libvirtd; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtThatReportsADestroyHasDestroyedIt",
     "libvirt; ready; sent SIGTERM virtqemud; reported destroyed; gone 0",
     "ADMIN HOST_DESTROY; file none"},
    {"AnotherThanLibvirtIsTheHosts",
     "libvirt; ready; lost; words file terminating on signal 15 from pid 812 (bash); sent SIGTERM "
     "bash; gone 0",
     "ADMIN HOST_SIGNAL; rule host-signal-words; file none"},
};
#undef TERMINATING
STORIES(VmSessionCauseTest, Downs, kDowns);

const StoryCase kAgents[] = {
    {"AConnectedOneIsACaveat", "agent open; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent connected"},
    {"APortThatNobodyOpensIsNone", "agent closed; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; unseen agent"},
    // A guest that shuts down in order ends its agent first.
    {"OneThatLeftInTheWindowCounts",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; wait 10m; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent disconnected"},
    {"OneThatLeftBeforeTheWindowDoesNot",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; wait 600001ms; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; unseen agent"},
    {"AResetForgetsTheOneBefore",
     "agent open; VSERPORT_CHANGE id=ch0 open=false; RESET guest=true; SHUTDOWN guest-shutdown; "
     "end",
     "USER GUEST_POWEROFF; unseen agent"},
    {"APortThatIsNotReportedMayHaveOne", "agent unreported; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen QEMU does not report"},
    // QEMU is asked one question after the other, and a guest may be faster than the answers.
    {"OneThatIsNotKnownYetMayBeConnected", "new; agent silent; ready; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE; seen did not know yet"},
    {"OneThatIsNotKnownYetAfterARestartMayBeConnected",
     "new; agent silent; ready; attach; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_POSSIBLE POWERDOWN_UNSEEN; seen did not know yet"},
    {"ThatThereIsNoneIsKnownAfterARestart", "agent silent; attach; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat POWERDOWN_UNSEEN; unseen agent"},
    {"OneIsSavedWithTheShutdown", "agent open; SHUTDOWN guest-shutdown; restart; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED"},
    {"OneThatLeftInARestartMayHaveBeenAsked",
     "agent open; restart; ready; agent closed; SHUTDOWN guest-shutdown; gone",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED POWERDOWN_UNSEEN"},
    {"AnIntentSettlesIt", "agent open; declare; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"ItsPortsEventsAreFollowed",
     "agent closed; VSERPORT_CHANGE id=spice open=true; VSERPORT_CHANGE open=true; "
     "VSERPORT_CHANGE id=ch0 open=yes; VSERPORT_CHANGE id=ch0 open=true; events STARTED; SHUTDOWN "
     "guest-shutdown; end",
     "USER GUEST_POWEROFF; caveat GUEST_AGENT_CONNECTED; seen guest agent connected"},
    {"ASignalHasNoCaveat", "agent open; SHUTDOWN host-signal; end", "ADMIN HOST_SIGNAL"},
    {"APanicHasNoCaveat", "agent open; SHUTDOWN guest-panic; end", "CRASH GUEST_PANIC"},
    {"APressHasNoCaveat", "agent open; POWERDOWN; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN"},
    // It can ask for a reboot and for a suspend to disk as well.
    {"ARebootHasTheCaveat", "agent open; SHUTDOWN guest-reset; end",
     "USER GUEST_REBOOT_EXIT; caveat GUEST_AGENT_CONNECTED"},
    {"AHibernationHasTheCaveat", "agent open; SUSPEND_DISK; SHUTDOWN guest-shutdown; end",
     "USER GUEST_HIBERNATE; caveat GUEST_AGENT_CONNECTED"},
};
STORIES(VmSessionCauseTest, Agents, kAgents);

const StoryCase kIntents[] = {
    {"APoweroffIsTheAdmins", "declare; SHUTDOWN guest-shutdown; end 0",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"ARebootIsTheAdmins", "declare; SHUTDOWN guest-reset; end 0",
     "ADMIN GUEST_REBOOT_EXIT; intent intent-1"},
    {"AQuitIsTheAdmins", "declare; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; intent intent-1"},
    {"AKillIsTheAdmins", "declare; end SIGKILL",
     "ADMIN UNOBSERVED; intent intent-1; seen QEMU was ended by SIGKILL, as intended"},
    {"AKillOfTheHostsIsTheAdmins", "declare; sent SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; intent intent-1; seen sent QEMU SIGKILL. Seen:"},
    {"ASigtermIsTheAdmins", "declare; end SIGTERM", "ADMIN HOST_SIGNAL; intent intent-1"},
    {"AnEndThatIsNotKnownIsTheAdmins", "declare; end", "ADMIN PROCESS_EXITED; intent intent-1"},
    {"AnExitInOrderIsTheAdmins", "declare; end 0", "ADMIN UNOBSERVED; intent intent-1"},
    {"APanicStaysACrash", "declare; GUEST_PANICKED action=poweroff; end",
     "CRASH GUEST_PANIC; intent intent-1; seen the guest's kernel panicked. Seen:"},
    {"AWatchdogStaysACrash", "declare; WATCHDOG action=poweroff; end",
     "CRASH WATCHDOG; intent intent-1"},
    {"AShutdownByAPanicStaysACrash", "declare; SHUTDOWN guest-panic; end",
     "CRASH GUEST_PANIC; intent intent-1"},
    {"AnErrorOfTheHostStaysACrash", "declare; SHUTDOWN host-error; end",
     "CRASH HOST_ERROR; intent intent-1"},
    {"ASegvStaysACrash", "declare; end SIGSEGV", "CRASH QEMU_CRASHED; intent intent-1"},
    {"AnExitWithAnErrorStaysACrash", "declare; end 1", "CRASH QEMU_CRASHED; intent intent-1"},
    {"AnOomKillStaysACrash", "declare; end SIGKILL oom", "CRASH OUT_OF_MEMORY; intent intent-1"},
    {"OneAfterTheShutdownIsShownAndChangesNothing", "SHUTDOWN guest-shutdown; declare; end",
     "USER GUEST_POWEROFF; intent intent-1"},
    {"OneThatExpiredAfterTheShutdownHasCounted",
     "declare 5s; SHUTDOWN guest-shutdown; closed; wait 6s; declare; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneThatWasWithdrawnAfterTheShutdownHasCounted",
     "declare; SHUTDOWN guest-shutdown; closed; withdraw; declare; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneIsOpenForAsLongAsTheNodeRuns",
     "declare 10m; wait 9m; suspend 8h; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneExpiresOnceTheNodeHasRunForItsTime",
     "declare 10m; wait 9m; suspend 8h; wait 1m; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"OneThatHasCountedIsSaved", "declare 5s; SHUTDOWN guest-shutdown; wait 6s; restart; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneCountsAgainAfterAReset",
     "SHUTDOWN guest-shutdown; STOP; declare; RESET; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneCountsAgainAfterAResume",
     "SHUTDOWN guest-shutdown; STOP; declare; RESUME; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"OneThatCountedForAnEndThatWasNoneIsForgotten",
     "declare 5s; SHUTDOWN guest-shutdown; STOP; wait 6s; RESET; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AnEndThatNobodySawIsTheAdmins", "declare 1m; restart 30s; gone",
     "ADMIN UNOBSERVED; intent intent-1"},
    {"AnEndThatNobodySawAfterItsTimeIsUnknown", "declare 1m; restart 2m; gone",
     "UNKNOWN UNOBSERVED"},
    {"ARebootIsNoEndThatWasSeen", "declare; restart; rebooted",
     "UNKNOWN UNOBSERVED; intent intent-1"},
    {"OneStandsInTheEvidenceAtItsTime",
     "POWERDOWN; wait 1s; declare; wait 1s; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN; intent intent-1; seen POWERDOWN, intent declared by ops, SHUTDOWN "
     "reason=guest-shutdown"},
    {"AGuestThatIsDownHasIt",
     "declare; SHUTDOWN guest-shutdown; STOP; last GUEST_SHUTDOWN ADMIN; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
};
STORIES(VmSessionCauseTest, Intents, kIntents);

const StoryCase kMigrations[] = {
    {"AWayIsNoCrashWhateverEndsIt", "STOP; answer postmigrate; end SIGKILL", "ADMIN MIGRATED_AWAY"},
    {"AWayIsNoCrashHoweverItEnds", "STOP; answer postmigrate; end", "ADMIN MIGRATED_AWAY"},
    {"OneThatWentOnHereIsForgotten",
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
    // Its guest was shut down at the source, and no event shows it here.
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
    // The source, or the file, still has the VM: whoever restarts it after a CRASH runs it twice.
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
    // As of a QEMU whose file of saved memory is bad: it gives up within milliseconds.
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
    // It may have been complete a millisecond later.
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
    {"OneThatDidNotFinishBeforeAResumeDecidesNothing",
     "STOP; answer finish-migrate; RESUME; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
    {"OneThatDidNotFinishBeforeAPauseDecidesNothing",
     "STOP; answer finish-migrate; answer paused; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
    {"OneThatWasCancelledDecidesNothing",
     "STOP; answer finish-migrate; MIGRATION status=cancelled; answer paused; RESUME; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; unseen finish-migrate"},
};
STORIES(VmSessionCauseTest, Migrations, kMigrations);

// A VM that QEMU held until its end.
constexpr StoryCase kHeld[] = {
    {"AVmThatSomebodyKilledNeverRan", "young; ready prelaunch; sent SIGKILL bash; end SIGKILL",
     "UNKNOWN NEVER_RAN; never ran; may still run; sender bash"},
    {"OneThatSomebodyAskedToEndNeverRan",
     "young; ready prelaunch; sent SIGTERM bash; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; never ran; may still run; sender bash"},
    {"OneThatWasQuitNeverRan", "young; ready prelaunch; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; never ran; may still run"},
    {"OneThatWaitedForAMigrationAsItsHostFailedNeverRan",
     "young; ready inmigrate; SHUTDOWN host-error; end 1",
     "CRASH HOST_ERROR; never ran; may still run"},
    {"OneWhoseQemuCrashedNeverRan", "young; ready prelaunch; end SIGSEGV",
     "UNKNOWN NEVER_RAN; never ran"},
    {"OneThatWasLetGoRan", "young; ready prelaunch; RESUME; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; may not run"},
    {"OneThatEndedUnseenMayHaveRun", "young; ready prelaunch; restart; gone", "UNKNOWN NEVER_RAN"},
    {"OneWhoseMonitorWasLostMayHaveRun", "young; ready prelaunch; lost; gone SIGSEGV",
     "UNKNOWN NEVER_RAN"},
    {"OneThatWasFoundLaterMayHaveRun", "old; ready prelaunch; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; seen monitor attached"},
};
STORIES(VmSessionCauseTest, Held, kHeld);

constexpr StoryCase kPauses[] = {
    {"AStopHasItsReasonOnceQemuIsAsked",
     "STOP; paused for nothing; answer paused; paused for paused; events STARTED PAUSED; RESUME; "
     "paused for nothing; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AnIoErrorIsTheReasonAtOnce",
     "BLOCK_IO_ERROR action=stop; STOP; paused for io-error; answer io-error; events STARTED "
     "IO_ERROR PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT"},
    {"SoIsAWatchdog", "WATCHDOG action=pause; STOP; paused for watchdog; end SIGTERM",
     "CRASH WATCHDOG"},
    {"ADebuggersIsAnEvent",
     "STOP; answer debug; paused for debug; events STARTED PAUSED STATE_CHANGED; answer debug; "
     "events STARTED PAUSED STATE_CHANGED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT"},
    {"AVmThatArrivesIsPausedForThatUntilItIsHeld",
     "young; ready inmigrate; paused for inmigrate; events STARTED; answer inmigrate; answer "
     "paused; paused for paused; is PAUSED; events STARTED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; never ran"},
    {"AMigrationsEndNeedsNoEvent",
     "MIGRATION status=active; STOP; paused for finish-migrate; answer finish-migrate; MIGRATION "
     "status=completed; answer postmigrate; paused for postmigrate; last MIGRATION; SHUTDOWN "
     "host-qmp-quit; end",
     "ADMIN MIGRATED_AWAY"},
    {"AResetOfOneThatIsHeldHasQemuAsked",
     "STOP; answer paused; SUSPEND; WAKEUP; paused for nothing; asked 0; wait 10ms; asked 1; "
     "answer "
     "paused; paused for paused; end SIGTERM",
     "ADMIN HOST_SIGNAL"},
};
STORIES(VmSessionCauseTest, Pauses, kPauses);

const StoryCase kRestarts[] = {
    {"APressBeforeIsInDoubtAfter",
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
    {"AVmThatIsInPrelaunchIsNotDown",
     "SHUTDOWN guest-shutdown; STOP; attach prelaunch; last PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; seen (clears: SHUTDOWN reason=guest-shutdown"},
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
STORIES(VmSessionCauseTest, Restarts, kRestarts);

}  // namespace
}  // namespace vmeventd
