#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/rare.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/process_end.h"
#include "watcher/core/signal_sender.h"

// The evidence about the end of a run. Pure.

namespace vmeventd {

// QEMU's `reason` of a SHUTDOWN event (qapi/run-state.json, ShutdownCause), as far as it shows who
// asked. kMissing: QEMU before 4.0. kOther: a name that this table does not know.
enum class ShutdownReason {
  kMissing,
  kHostError,
  kHostQmpQuit,
  kHostQmpSystemReset,
  kHostSignal,
  kHostUi,
  kGuestShutdown,
  kGuestReset,
  kGuestPanic,
  kOther,
};

ShutdownReason ParseShutdownReason(absl::string_view reason);

// The first SHUTDOWN that nothing has cleared.
struct ShutdownFact {
  ShutdownReason reason = ShutdownReason::kMissing;
  std::optional<bool> guest;                    // unset: not reported
  std::optional<absl::Duration> powerdown_age;  // age of the last POWERDOWN; unset: none came
  bool powerdown_cleared = false;               // by a RESET since then
  bool while_paused = false;                    // a STOP had come before it, and was not cleared
  // Only a SIGTERM, SIGINT or SIGHUP that QEMU had been sent before shows who asked.
  bool after_signal = false;
  bool host_shutdown = false;               // the host was shutting down when it came
  bool powerdown_in_host_shutdown = false;  // and when the last uncleared POWERDOWN came
  // Time since the last moment in this guest's life at which its monitor was not followed; unset:
  // it always was.
  std::optional<absl::Duration> unseen_age;
  // Doubt because a guest agent was connected then: a host that asks through the agent leaves no
  // trace on the monitor.
  std::optional<ShutdownCaveat> caveat;
};

// A manager's reason for the stop of a VM.
enum class ManagerEnd {
  kShutdown = 1,   // orderly, whether or not it was requested
  kDestroyed = 2,  // the manager ended it, and kills QEMU if it must
  kSaved = 3,      // its memory is in a file, from which it can be restored
  kMigrated = 4,
  kFailed = 5,   // QEMU ended without reporting why
  kCrashed = 6,  // because the guest's kernel had panicked
};

// State of evidence that a later event, such as a reset of the guest, makes void. kDoubted: such an
// event may have happened unseen, because a RESUME came since, which may be the only event of a
// return to a snapshot, or because nobody followed the VM for some time, in which it may have been
// reset or resumed.
enum class Fact : uint8_t { kNone, kStands, kDoubted };

// Everything that a verdict is based on: the facts that have not been cleared when the run ends.
struct Evidence {
  // Facts that the VM's monitor showed, and that a reset or a resume makes void. A time in which
  // nobody watched puts them in doubt.

  // In doubt if `unfollowed`, and if QEMU stays alive after it.
  Rare<ShutdownFact> shutdown;
  Fact panic = Fact::kNone;            // of the guest's kernel
  Fact watchdog = Fact::kNone;         // it expired, and its action is `reset` or `shutdown`
  Fact watchdog_paused = Fact::kNone;  // its action is `pause`; a resume makes it void as well
  // Its action is `poweroff`. QEMU ends at once, so an unwatched time does not put it in doubt.
  Fact watchdog_ended = Fact::kNone;
  Fact powerdown = Fact::kNone;            // the last POWERDOWN
  Fact internal_error = Fact::kNone;       // run state internal-error: only a reset leads out of it
  Fact migrated = Fact::kNone;             // run state postmigrate, or MIGRATION completed
  Fact finishing_migration = Fact::kNone;  // the last answer was run state finish-migrate
  // The VM was not seen running: its run state was `inmigrate` or `prelaunch`, or its monitor
  // closed before QEMU reported one; no RESUME since.
  Fact never_ran = Fact::kNone;
  Fact incoming = Fact::kNone;  // it never ran, and its run state was `inmigrate`
  // query-status reported at attach that the guest was down; its SHUTDOWN was not seen.
  Fact down_before_attach = Fact::kNone;
  Fact paused = Fact::kNone;  // STOP, no RESUME since
  // A STOP came since query-status was answered: the VM may be at the end of a migration.
  Fact stop_unexplained = Fact::kNone;
  // SUSPEND_DISK, whose SHUTDOWN follows at once and then has its doubt. It never decides alone.
  Fact hibernating = Fact::kNone;

  // Facts about vmeventd's own watch of the VM. They are certain.
  bool never_greeted = false;  // it ended soon after its start, and nobody had answered
  bool monitored = false;      // the monitor is connected, or was until the process went
  bool unfollowed = false;     // nobody followed it for some time before its end

  // Facts of the host, of libvirt, of the process and of its end, which no reset and no resume of
  // the guest changes. After a restart the host's state is read again.
  bool host_rebooted = false;             // rebooted since the run was seen last
  bool host_shutdown = false;             // the host was shutting down when it was last seen
  std::optional<ManagerEnd> manager_end;  // unset: no manager, or it has not reported
  // End of the process, as far as the kernel reported it.
  std::optional<ExitStatus> exit_status;
  bool oom_killed = false;  // it was killed, and its cgroup counts one more OOM kill
  bool oom_victim = false;  // the kernel has named it as its victim
  // Senders of the SIGKILL, and of the newest of the other signals that end a process. Unset: no
  // record proves one.
  Rare<SignalSender> killer;
  Rare<SignalSender> signaller;
  // QEMU's last words report that it obeyed the signal of `signaller`; its SHUTDOWN was not
  // received.
  bool words_name_signaller = false;

  // Facts of QEMU's start, and of who has its monitor; they never change. QEMU was started with a
  // device by which its guest can end it (isa-debug-exit, semihosting).
  bool guest_can_exit = false;
  bool stays_down = false;       // QEMU was started to stay alive when its guest is down
  bool no_panic_device = false;  // QEMU was started without a device that reports a guest's panic
  bool managed = false;          // a manager has its monitor: it ends a QEMU whose guest is down

  // Certain, because intents are declared to vmeventd itself. An intent to end the run was open
  // when the deciding evidence was seen, or, where nothing but the end of the process decides, at
  // that end.
  bool intended = false;
};

}  // namespace vmeventd
