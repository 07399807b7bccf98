#ifndef VMEVENTD_WATCHER_CORE_CLASSIFICATION_RULES_H_
#define VMEVENTD_WATCHER_CORE_CLASSIFICATION_RULES_H_

#include "watcher/core/classification.h"

// The one place that says why a VM stopped. The first row whose condition holds decides; the last
// row always holds. docs/classification.md is generated from this table. Facts: QEMU's
// qapi/run-state.json and docs/qemu.md.

namespace vmeventd {

// What the conditions are over: the evidence, and whether a POWERDOWN was young enough.
struct RuleInput {
  const Evidence& evidence;
  bool powerdown_in_window;

  bool down() const { return evidence.shutdown.has_value(); }
  bool reason_is(ShutdownReason reason) const {
    return down() && evidence.shutdown->reason == reason;
  }
  // QEMU did not say the reason, or one that is not known here.
  bool unexplained() const {
    return reason_is(ShutdownReason::kMissing) || reason_is(ShutdownReason::kOther);
  }
  bool unexplained_from_guest() const { return unexplained() && evidence.shutdown->guest == true; }
  bool unexplained_from_host() const { return unexplained() && evidence.shutdown->guest == false; }
};

struct Rule {
  const char* id;
  const char* condition;  // in words, for the document
  bool (*holds)(const RuleInput&);
  ShutdownClass shutdown_class;
  ShutdownCause cause;
};

inline constexpr Rule kClassificationRules[] = {
    // What decides whatever else was said.
    {"host-rebooted", "the host was rebooted while the run was open: its end was not seen",
     [](const RuleInput& in) { return in.evidence.host_rebooted; },  //
     ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
    {"migrated-away", "the run state was `postmigrate`, not resumed since",
     [](const RuleInput& in) { return in.evidence.migrated; },  //
     ShutdownClass::kAdmin, ShutdownCause::kMigratedAway},
    {"guest-panic", "GUEST_PANICKED or GUEST_CRASHLOADED, no RESET since",
     [](const RuleInput& in) { return in.evidence.guest_panicked; },  //
     ShutdownClass::kCrash, ShutdownCause::kGuestPanic},
    {"watchdog",
     "WATCHDOG with action reset, shutdown, poweroff or pause, no RESET or RESUME since",
     [](const RuleInput& in) { return in.evidence.watchdog_expired; },  //
     ShutdownClass::kCrash, ShutdownCause::kWatchdog},
    {"down-before-attach", "the guest was down already when its monitor was attached",
     [](const RuleInput& in) { return in.evidence.down_before_attach; },  //
     ShutdownClass::kUnknown, ShutdownCause::kUnobserved},

    // The first uncleared SHUTDOWN's reason (QEMU 4.0 and later).
    {"shutdown-guest-panic", "SHUTDOWN reason=guest-panic",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kGuestPanic); },
     ShutdownClass::kCrash, ShutdownCause::kGuestPanic},
    {"shutdown-host-error", "SHUTDOWN reason=host-error",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kHostError); },
     ShutdownClass::kCrash, ShutdownCause::kHostError},
    {"powerdown-obeyed",
     "SHUTDOWN reason=guest-shutdown, a POWERDOWN within the window before it, no RESET between",
     [](const RuleInput& in) {
       return in.reason_is(ShutdownReason::kGuestShutdown) && in.powerdown_in_window;
     },
     ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown},
    {"guest-hibernate", "SHUTDOWN reason=guest-shutdown after SUSPEND_DISK",
     [](const RuleInput& in) {
       return in.reason_is(ShutdownReason::kGuestShutdown) && in.evidence.hibernating;
     },
     ShutdownClass::kUser, ShutdownCause::kGuestHibernate},
    {"guest-poweroff", "SHUTDOWN reason=guest-shutdown",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kGuestShutdown); },
     ShutdownClass::kUser, ShutdownCause::kGuestPoweroff},
    {"guest-reboot-exit", "SHUTDOWN reason=guest-reset (a reboot under -no-reboot)",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kGuestReset); },
     ShutdownClass::kUser, ShutdownCause::kGuestRebootExit},
    {"host-quit", "SHUTDOWN reason=host-qmp-quit",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kHostQmpQuit); },
     ShutdownClass::kAdmin, ShutdownCause::kHostQuit},
    {"host-reset-exit", "SHUTDOWN reason=host-qmp-system-reset (system_reset under -no-reboot)",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kHostQmpSystemReset); },
     ShutdownClass::kAdmin, ShutdownCause::kHostResetExit},
    {"host-signal", "SHUTDOWN reason=host-signal (SIGTERM, SIGINT or SIGHUP)",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kHostSignal); },
     ShutdownClass::kAdmin, ShutdownCause::kHostSignal},
    {"host-ui", "SHUTDOWN reason=host-ui",
     [](const RuleInput& in) { return in.reason_is(ShutdownReason::kHostUi); },
     ShutdownClass::kAdmin, ShutdownCause::kHostUi},

    // No reason, or one that is not known here: by `guest` (QEMU 2.10 to 3.1), and without that
    // by what came before (QEMU up to 2.9).
    {"legacy-host", "SHUTDOWN guest=false without a known reason",
     [](const RuleInput& in) { return in.unexplained_from_host(); },  //
     ShutdownClass::kAdmin, ShutdownCause::kHostRequest},
    {"legacy-powerdown",
     "SHUTDOWN without a known reason, a POWERDOWN within the window before it, no RESET between",
     [](const RuleInput& in) { return in.unexplained() && in.powerdown_in_window; },
     ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown},
    {"legacy-hibernate", "SHUTDOWN without a known reason, after SUSPEND_DISK",
     [](const RuleInput& in) { return in.unexplained() && in.evidence.hibernating; },
     ShutdownClass::kUser, ShutdownCause::kGuestHibernate},
    {"legacy-guest", "SHUTDOWN guest=true without a known reason",
     [](const RuleInput& in) { return in.unexplained_from_guest(); },  //
     ShutdownClass::kUser, ShutdownCause::kGuestRequest},
    {"legacy-stopped", "SHUTDOWN without reason and guest, of a paused VM (STOP, no RESUME since)",
     [](const RuleInput& in) { return in.unexplained() && in.evidence.shutdown->while_paused; },
     ShutdownClass::kAdmin, ShutdownCause::kHostRequest},
    {"legacy-shutdown", "SHUTDOWN without reason and guest",
     [](const RuleInput& in) { return in.unexplained(); },  //
     ShutdownClass::kUser, ShutdownCause::kGuestRequest},

    // No SHUTDOWN that is known of. vmeventd creates the file as soon as it has seen a USER's
    // shutdown; what it saw may not have been kept when it was killed.
    {"shutdown-file-found",
     "vmeventd was started again and found NAME.shutdown as it had written it during this run",
     [](const RuleInput& in) { return in.evidence.shutdown_file_found; },  //
     ShutdownClass::kUser, ShutdownCause::kGuestRequest},
    {"process-exited", "no SHUTDOWN, and the process of a VM that was followed is gone",
     [](const RuleInput& in) { return in.evidence.monitored; },  //
     ShutdownClass::kCrash, ShutdownCause::kProcessExited},
    {"unobserved",
     "the monitor gave no greeting or went to another client: nobody here saw the end",
     [](const RuleInput&) { return true; },  //
     ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_CLASSIFICATION_RULES_H_
