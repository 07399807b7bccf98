// Ends of runs while their host shuts down.

#include "gtest/gtest.h"
#include "tests/watcher/session/story_suite.h"

namespace vmeventd {
namespace {

STORY_SUITE(HostShutdownStoryTest);

const StoryCase kHostShutdowns[] = {
    {"ASignal", "host down; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown; seen the host began to shut down, reported by "
     "systemd-logind"},
    {"AQuit", "host down; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AClosedWindow", "host down; SHUTDOWN host-ui; end 0",
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
    {"ACancelledShutdownOfTheHostIsNone",
     "host down; wait 5s; host up; SHUTDOWN host-signal; end 0",
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
    {"TheHostsShutdownIsRememberedOverARestart",
     "host down; attach; host down; POWERDOWN; SHUTDOWN guest-shutdown; restart 0s; gone",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AResetDoesNotEndIt", "host down; RESET; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AResetThatClearsAPanicDoesNotClearIt",
     "host down; GUEST_PANICKED action=run; RESET; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown; seen the host began to shut down; unseen clears: "
     "the host"},
    {"SystemdShutdownShowsIt", "sent SIGTERM systemd-shutdow pid=1; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"Killall5ShowsIt", "sent SIGTERM killall5 pid=1; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SHUTDOWN; rule host-shutdown"},
    {"AUsersKillall5DoesNot", "sent SIGTERM killall5 uid=1000; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL"},
    {"AContainersShutdownIsNotTheHosts",
     "sent SIGTERM systemd-shutdow; SHUTDOWN host-signal; end 0", "ADMIN HOST_SIGNAL"},
    {"AVmThatNeverRanStaysUnknown", "new; ready inmigrate; host down; end SIGKILL",
     "UNKNOWN NEVER_RAN; never ran"},
    // The host that shuts down kills what is left here, and the VM lives on elsewhere.
    {"AKillOfAVmThatNeverRanIsUnknown",
     "new; ready inmigrate; host down; sent SIGKILL systemd; end SIGKILL",
     "UNKNOWN NEVER_RAN; never ran; may still run; sender systemd"},
    {"AKillInTheLastPassOfAMigrationIsUnknown",
     "STOP; answer finish-migrate; host down; sent SIGKILL systemd; end SIGKILL",
     "UNKNOWN MIGRATION_UNFINISHED; may still run; sender systemd"},
};
STORIES(HostShutdownStoryTest, HostShutdowns, kHostShutdowns);

}  // namespace
}  // namespace vmeventd
