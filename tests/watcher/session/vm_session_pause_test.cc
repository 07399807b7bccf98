// Why a VM is paused.

#include "gtest/gtest.h"
#include "tests/watcher/session/story_suite.h"

namespace vmeventd {
namespace {

STORY_SUITE(PauseStoryTest);

const StoryCase kPauses[] = {
    {"AStopHasItsReasonOnceQemuIsAsked",
     "STOP; paused for nothing; answer paused; paused for paused; events STARTED PAUSED; RESUME; "
     "paused for nothing; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AnIoErrorIsTheReasonAtOnce",
     "BLOCK_IO_ERROR action=stop; STOP; paused for io-error; answer io-error; events STARTED "
     "IO_ERROR PAUSED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT"},
    {"APauseByAWatchdogIsTheWatchdogs",
     "WATCHDOG action=pause; STOP; paused for watchdog; end SIGTERM", "CRASH WATCHDOG"},
    {"APauseByADebuggerIsAnEvent",
     "STOP; answer debug; paused for debug; events STARTED PAUSED STATE_CHANGED; answer debug; "
     "events STARTED PAUSED STATE_CHANGED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT"},
    {"AVmThatArrivesIsPausedForThatUntilItIsHeld",
     "young; ready inmigrate; paused for inmigrate; events STARTED; answer inmigrate; answer "
     "paused; paused for paused; is PAUSED; events STARTED; SHUTDOWN host-qmp-quit; end",
     "ADMIN HOST_QUIT; never ran"},
    {"APauseAtTheEndOfAMigrationNeedsNoEvent",
     "MIGRATION status=active; STOP; paused for finish-migrate; answer finish-migrate; MIGRATION "
     "status=completed; answer postmigrate; paused for postmigrate; last MIGRATION; SHUTDOWN "
     "host-qmp-quit; end",
     "ADMIN MIGRATED_AWAY"},
    {"QemuIsAskedAfterAWakeUpOfAVmThatIsHeld",
     "STOP; answer paused; SUSPEND; WAKEUP; paused for nothing; asked 0; wait 10ms; asked 1; "
     "answer "
     "paused; paused for paused; end SIGTERM",
     "ADMIN HOST_SIGNAL"},
    {"QemuIsAskedAfterAResetOfAVmThatIsHeld",
     "SHUTDOWN guest-shutdown; STOP; RESET; is PAUSED; paused for nothing; asked 0; wait 10ms; "
     "asked 1; answer prelaunch; paused for prelaunch; end SIGTERM",
     "ADMIN HOST_SIGNAL"},
};
STORIES(PauseStoryTest, Pauses, kPauses);

}  // namespace
}  // namespace vmeventd
