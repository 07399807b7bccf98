#pragma once

#include <csignal>
#include <optional>

#include "watcher/session/classification.h"
#include "watcher/session/evidence.h"

// The one table of why a VM stopped. The first row whose condition holds decides; the last
// row always holds. docs/internals/classification.md is generated from this table. Facts: QEMU's
// qapi/run-state.json and docs/internals/qemu.md.

namespace vmeventd {

// Programs that kill because memory runs out. The rules' conditions and the contract list them,
// which a test compares.
inline constexpr absl::string_view kMemoryKillers[] = {"systemd-oomd", "earlyoom", "nohang",
                                                       "oomd"};

// Returns whether the sender kills because memory runs out. Judged by its name, which any process
// can give itself.
inline bool IsMemoryKiller(const SignalSender& sender) {
  if (sender.of_qemus_user || sender.from_last_words) return false;
  const absl::string_view program = sender.executable;
  for (const absl::string_view killer : kMemoryKillers) {
    if (sender.command == killer || program.substr(program.rfind('/') + 1) == killer) {
      return true;
    }
  }
  return false;
}

// Returns whether the sender is libvirt's daemon. Judged by its name, which any process can give
// itself.
inline bool IsLibvirtDaemon(const SignalSender& sender) {
  return sender.command == "libvirtd" || sender.command == "virtqemud";
}

// Returns whether the fact was seen and nothing that was seen has cleared it. If its doubt matters,
// the rule `snapshot` has decided before.
inline bool Seen(Fact fact) { return fact != Fact::kNone; }

// Input of the conditions: the evidence, whether a POWERDOWN was young enough, and whether what may
// have happened unseen changes the class.
struct RuleInput {
  const Evidence& evidence;
  bool powerdown_in_window;
  bool doubt_matters;

  bool down() const { return evidence.shutdown.has_value(); }
  bool reason_is(ShutdownReason reason) const {
    return down() && evidence.shutdown->reason == reason;
  }
  // QEMU reported no reason (before 4.0), or one that is not known here.
  bool unexplained() const {
    return reason_is(ShutdownReason::kMissing) || reason_is(ShutdownReason::kOther);
  }
  bool unexplained_from_guest() const { return unexplained() && evidence.shutdown->guest == true; }
  bool unexplained_from_host() const { return unexplained() && evidence.shutdown->guest == false; }

  // A SHUTDOWN by which QEMU obeyed a signal, as it reports or as the order of the two shows.
  bool by_signal() const {
    return reason_is(ShutdownReason::kHostSignal) ||
           (unexplained_from_host() && evidence.shutdown->after_signal);
  }

  // The guest's watchdog expired, and its action ends or stops the guest.
  bool watchdog_expired() const {
    return Seen(evidence.watchdog) || Seen(evidence.watchdog_paused) ||
           Seen(evidence.watchdog_ended);
  }
  // A SUSPEND_DISK explains a SHUTDOWN of the guest. One whose own SHUTDOWN may have been missed
  // explains no other: the cause is then that of any SHUTDOWN of the guest, of the same class.
  bool hibernated() const { return evidence.hibernating == Fact::kStands; }

  bool manager_says(ManagerEnd end) const { return evidence.manager_end == end; }

  // The signal that ended the process; 0: none, or not known.
  int exit_signal() const {
    return evidence.exit_status.has_value() ? evidence.exit_status->signal : 0;
  }
  // A SIGKILL that the kernel showed needs no exit status.
  bool killed() const {
    return exit_signal() == SIGKILL ||
           (!evidence.exit_status.has_value() && evidence.killer.has_value());
  }
  bool killed_by_other_process() const {
    return killed() && evidence.killer.has_value() && !evidence.killer->by_kernel &&
           !evidence.killer->of_qemu;
  }
  // It may have been the source at the end of a migration, which shows only a STOP, and no other
  // process of the host ended it.
  bool may_have_migrated() const {
    if (!Seen(evidence.stop_unexplained) || exited()) return false;
    return out_of_memory() || !(killed_by_other_process() || ended_by_other_process());
  }
  // Another process ended it by SIGQUIT, the one other signal that a host sends and that is no sign
  // of a crash.
  bool ended_by_other_process() const {
    const Rare<SignalSender>& sender = evidence.signaller;
    return exit_signal() == SIGQUIT && sender.has_value() && sender->signal == SIGQUIT &&
           !sender->of_qemu && sender->ended_with.empty();
  }
  // The guest has ended QEMU by a device: isa-debug-exit turns the guest's value into an odd exit
  // code. Code 1 does not count: QEMU also exits with it after its own errors.
  bool ended_by_guest() const {
    return evidence.guest_can_exit && evidence.exit_status.has_value() && exit_signal() == 0 &&
           evidence.exit_status->code > 1;
  }
  // A SIGKILL or SIGQUIT ended it, and nothing proves who sent that.
  bool ended_by_unknown() const {
    if (killed()) return !evidence.killer.has_value();
    const Rare<SignalSender>& sender = evidence.signaller;
    return exit_signal() == SIGQUIT && (!sender.has_value() || sender->signal != SIGQUIT);
  }
  // A SIGKILL or SIGQUIT ended it, from a process that QEMU may have started, or from the kernel
  // because another process ended.
  bool sender_unproven() const {
    const Rare<SignalSender>& sender = killed() ? evidence.killer : evidence.signaller;
    return sender.has_value() && (sender->descent_unproven || !sender->ended_with.empty()) &&
           (killed() || (exit_signal() == SIGQUIT && sender->signal == SIGQUIT));
  }
  // A signal ended it, but its guest may have been down already, unseen: then QEMU stays alive
  // until its manager ends it. libvirt does that when it is restarted.
  bool may_have_been_down() const {
    if (down()) return false;
    const SignalSender* const sender = killed() ? evidence.killer.get() : evidence.signaller.get();
    if (evidence.managed) {
      if (sender == nullptr || !IsLibvirtDaemon(*sender)) return false;
    } else if (!evidence.stays_down || evidence.monitored) {
      return false;
    }
    return killed() || ended_by_other_process() || (evidence.words_name_signaller && !failed());
  }
  bool exited() const { return evidence.exit_status.has_value() && !failed(); }
  // The kernel killed it with its parent, or with its container, whose first process ended by
  // itself as far as is known.
  bool ended_with_another() const {
    const Rare<SignalSender>& sender = evidence.killer;
    return killed() && sender.has_value() && sender->by_kernel &&
           (!sender->ended_with.empty() ||
            (sender->first_process != 0 && sender->first_signal == 0));
  }
  // If a process is known to have sent the signal, the OOM kill in the cgroup was another
  // process's. The kernel also names victims that are already ending.
  bool out_of_memory() const {
    if (!killed()) return false;
    const bool with_container = evidence.killer.has_value() && evidence.killer->first_process != 0;
    // It was the victim, in a container whose first process had been sent a signal before.
    if (with_container && evidence.oom_victim) return true;
    if (killed_by_other_process()) return IsMemoryKiller(*evidence.killer);
    const bool other = evidence.killer.has_value() &&
                       (!evidence.killer->by_kernel || !evidence.killer->ended_with.empty());
    return !other && (evidence.oom_victim || evidence.oom_killed);
  }
  // Sender of the signal that QEMU obeyed after its VM had run; null: none, or not known.
  const SignalSender* obeyed() const {
    const SignalSender* const sender = evidence.signaller.get();
    if (sender == nullptr || Seen(evidence.never_ran) || Seen(evidence.finishing_migration)) {
      return nullptr;
    }
    const bool it_did = down() ? by_signal()
                               : (exit_by_request() && exit_signal() == sender->signal) ||
                                     (evidence.words_name_signaller && !failed());
    return it_did ? sender : nullptr;
  }
  // Memory killers ask first: earlyoom and nohang send SIGTERM, which a QEMU that runs obeys.
  bool asked_by_memory_killer() const {
    const SignalSender* const sender = obeyed();
    return sender != nullptr && !sender->by_kernel && !sender->of_qemu && IsMemoryKiller(*sender);
  }
  // Asked by a process with a memory killer's name that QEMU may have started, or by the kernel
  // because another process ended.
  bool asked_by_one_unproven() const {
    const SignalSender* const sender = obeyed();
    return sender != nullptr &&
           ((sender->descent_unproven && IsMemoryKiller(*sender)) || !sender->ended_with.empty());
  }
  bool failed() const {
    return exit_signal() != 0 ||
           (evidence.exit_status.has_value() && evidence.exit_status->code != 0);
  }
  bool exit_by_request() const {
    const int signal = exit_signal();
    return signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
  }

  // A SHUTDOWN that came as the host shut down, and that the host asked for.
  bool down_with_host() const {
    if (!down() || !evidence.shutdown->host_shutdown) return false;
    if (by_signal() || reason_is(ShutdownReason::kHostQmpQuit) ||
        reason_is(ShutdownReason::kHostUi) || unexplained_from_host()) {
      return true;
    }
    return from_guest() && powerdown_in_window && evidence.shutdown->powerdown_in_host_shutdown;
  }
  // A SHUTDOWN by which a guest powered itself off.
  bool from_guest() const {
    return reason_is(ShutdownReason::kGuestShutdown) || unexplained_from_guest();
  }
  // A process that the host ended as it shut down.
  bool ended_with_host() const {
    if (down() || !evidence.host_shutdown || Seen(evidence.never_ran) ||
        Seen(evidence.finishing_migration) || manager_says(ManagerEnd::kCrashed)) {
      return false;
    }
    if (killed()) {
      return !out_of_memory() && (killed_by_other_process() || ended_with_another());
    }
    if (!evidence.exit_status.has_value()) return false;
    return exit_by_request() || ended_by_other_process() ||
           (!failed() && !evidence.monitored && evidence.signaller.has_value() &&
            !evidence.signaller->from_last_words);
  }
};

struct Rule {
  const char* id;
  const char* condition;  // in words, for the document
  bool (*holds)(const RuleInput&);
  ShutdownClass shutdown_class;
  ShutdownClass intended_class;  // class under an intent
  ShutdownCause cause;
  // Class for NAME.shutdown, where it is not shutdown_class. Two rows of UNKNOWN have one: it is
  // not known who ended QEMU, but its guest did not shut down, so the file is removed. Other rows
  // of UNKNOWN keep the file and cannot be distinguished by a fact: `down-unseen` may also have a
  // SIGKILL, and `clean-exit` was also followed to its end.
  std::optional<ShutdownClass> file_class = std::nullopt;
};

namespace rules {

using enum ShutdownCause;
using ShutdownClass::kAdmin, ShutdownClass::kCrash, ShutdownClass::kUnknown, ShutdownClass::kUser;
using In = const RuleInput&;

inline constexpr Rule kTable[] = {
    // The rules that decide whatever else was seen.
    {"host-shutdown-unseen",
     "the host was rebooted while the run was open, it was shutting down when vmeventd stopped, "
     "and nothing had decided the run's end before",
     [](In in) {
       return in.evidence.host_rebooted && in.evidence.host_shutdown && !IsDecided(in.evidence) &&
              !Seen(in.evidence.never_ran) && !Seen(in.evidence.finishing_migration);
     },
     kAdmin, kAdmin, kHostShutdown},
    {"host-rebooted", "the host was rebooted while the run was open: its end was not seen",
     [](In in) { return in.evidence.host_rebooted; }, kUnknown, kUnknown, kUnobserved},
    {"migrated-away",
     "the run state was `postmigrate`, or MIGRATION had been `active` and was `completed`, not "
     "resumed since; or libvirt says so",
     [](In in) {
       const bool is_away = Seen(in.evidence.migrated) || in.manager_says(ManagerEnd::kMigrated);
       return is_away && !in.doubt_matters;
     },
     kAdmin, kAdmin, kMigratedAway},
    {"snapshot",
     "a RESUME came since a panic, a WATCHDOG or a POWERDOWN that makes another class: the VM may "
     "have returned to an earlier snapshot (`loadvm`), which QEMU does not report; or nobody "
     "followed the VM for a time since: it may have been reset or resumed",
     [](In in) { return in.doubt_matters; }, kUnknown, kUnknown, kUnobserved},
    {"guest-panic", "GUEST_PANICKED or GUEST_CRASHLOADED, no RESET since",
     [](In in) { return Seen(in.evidence.panic); }, kCrash, kCrash, kGuestPanic},
    {"watchdog",
     "WATCHDOG with action reset, shutdown (within the window), poweroff or pause, no RESET since, "
     "nor, after a pause, a RESUME",
     [](In in) { return in.watchdog_expired(); }, kCrash, kCrash, kWatchdog},
    {"internal-error",
     "the run state was `internal-error` (KVM or QEMU cannot run the guest any more), no RESET nor "
     "RESUME since",
     [](In in) { return Seen(in.evidence.internal_error); }, kCrash, kCrash, kHostError},
    {"manager-saved", "libvirt saved the VM's memory and ended it",
     [](In in) { return in.manager_says(ManagerEnd::kSaved); }, kAdmin, kAdmin, kHostSave},
    {"down-before-attach",
     "the guest was down already when its monitor was attached, or when the VM arrived by a "
     "migration",
     [](In in) { return Seen(in.evidence.down_before_attach); }, kUnknown, kAdmin, kUnobserved},

    // The first uncleared SHUTDOWN's reason (QEMU 4.0 and later).
    {"shutdown-guest-panic", "SHUTDOWN reason=guest-panic",
     [](In in) { return in.reason_is(ShutdownReason::kGuestPanic); }, kCrash, kCrash, kGuestPanic},
    {"shutdown-host-error", "SHUTDOWN reason=host-error",
     [](In in) { return in.reason_is(ShutdownReason::kHostError); }, kCrash, kCrash, kHostError},
    {"memory-killer",
     "SHUTDOWN by a signal, or no SHUTDOWN and exit by SIGTERM, SIGINT or SIGHUP or as QEMU's last "
     "words confirm, the VM was seen running, and systemd-oomd, earlyoom, nohang or oomd sent the "
     "signal, as root or as "
     "another user than QEMU's",
     [](In in) { return in.asked_by_memory_killer(); }, kCrash, kCrash, kOutOfMemory},
    {"host-shutdown",
     "SHUTDOWN reason=host-signal, host-qmp-quit or host-ui, or guest=false without a known "
     "reason, or reason=guest-shutdown or guest=true without one after a POWERDOWN within the "
     "window, no RESET between; and the host was shutting down when both came",
     [](In in) { return in.down_with_host(); }, kAdmin, kAdmin, kHostShutdown},
    {kHostShutdownAgentRule,
     "SHUTDOWN reason=guest-shutdown, or guest=true without a known reason, not after SUSPEND_DISK "
     "or a POWERDOWN within the window, while the host was shutting down and a guest agent was "
     "connected",
     [](In in) {
       return in.from_guest() && in.evidence.shutdown->host_shutdown &&
              !Seen(in.evidence.hibernating) && !in.powerdown_in_window &&
              in.evidence.shutdown->caveat == ShutdownCaveat::kGuestAgentConnected;
     },
     kAdmin, kAdmin, kHostShutdown},
    {"host-shutdown-end",
     "no SHUTDOWN while the host was shutting down, the VM was seen running, and the exit was by "
     "SIGTERM, SIGINT or SIGHUP, by SIGKILL or SIGQUIT of another process that is no memory killer "
     "and does not descend from QEMU, or with 0 after such a signal, while another client held the "
     "monitor",
     [](In in) { return in.ended_with_host(); }, kAdmin, kAdmin, kHostShutdown},
    {"powerdown-obeyed",
     "SHUTDOWN reason=guest-shutdown, a POWERDOWN within the window before it, no RESET between",
     [](In in) { return in.reason_is(ShutdownReason::kGuestShutdown) && in.powerdown_in_window; },
     kAdmin, kAdmin, kHostPowerdown},
    {"guest-hibernate", "SHUTDOWN reason=guest-shutdown after SUSPEND_DISK",
     [](In in) { return in.reason_is(ShutdownReason::kGuestShutdown) && in.hibernated(); }, kUser,
     kAdmin, kGuestHibernate},
    {"guest-poweroff", "SHUTDOWN reason=guest-shutdown",
     [](In in) { return in.reason_is(ShutdownReason::kGuestShutdown); }, kUser, kAdmin,
     kGuestPoweroff},
    {"guest-reboot-exit", "SHUTDOWN reason=guest-reset (a reboot under -no-reboot)",
     [](In in) { return in.reason_is(ShutdownReason::kGuestReset); }, kUser, kAdmin,
     kGuestRebootExit},
    {"host-quit", "SHUTDOWN reason=host-qmp-quit",
     [](In in) { return in.reason_is(ShutdownReason::kHostQmpQuit); }, kAdmin, kAdmin, kHostQuit},
    {"host-reset-exit", "SHUTDOWN reason=host-qmp-system-reset (system_reset under -no-reboot)",
     [](In in) { return in.reason_is(ShutdownReason::kHostQmpSystemReset); }, kAdmin, kAdmin,
     kHostResetExit},
    {"manager-destroyed",
     "libvirt destroyed the VM: SHUTDOWN by a signal, or no SHUTDOWN and a process that "
     "neither crashed by itself nor was killed for its memory",
     [](In in) {
       if (!in.manager_says(ManagerEnd::kDestroyed)) return false;
       if (in.down()) return in.by_signal();
       return in.killed() ? !in.out_of_memory() : !in.failed();
     },
     kAdmin, kAdmin, kHostDestroy},
    {"signal-unclear",
     "SHUTDOWN by a signal, or no SHUTDOWN and exit by SIGTERM, SIGINT or SIGHUP, the VM was seen "
     "running, and the kernel sent it as QEMU's parent ended (PR_SET_PDEATHSIG), or a memory "
     "killer that QEMU may have started",
     [](In in) { return in.asked_by_one_unproven(); }, kUnknown, kAdmin, kUnobserved},
    {"host-signal",
     "SHUTDOWN by a signal: reason=host-signal; or without a known reason and guest=false, after "
     "another process or the kernel had sent SIGTERM, SIGINT or SIGHUP",
     [](In in) { return in.by_signal(); }, kAdmin, kAdmin, kHostSignal},
    {"host-ui", "SHUTDOWN reason=host-ui",
     [](In in) { return in.reason_is(ShutdownReason::kHostUi); }, kAdmin, kAdmin, kHostUi},

    // No reason, or one that is not known here: by `guest` (QEMU before 4.0).
    {"legacy-host", "SHUTDOWN guest=false without a known reason",
     [](In in) { return in.unexplained_from_host(); }, kAdmin, kAdmin, kHostRequest},
    {"legacy-powerdown",
     "SHUTDOWN guest=true without a known reason, a POWERDOWN within the window before it, "
     "no RESET between",
     [](In in) { return in.unexplained_from_guest() && in.powerdown_in_window; }, kAdmin, kAdmin,
     kHostPowerdown},
    {"legacy-hibernate", "SHUTDOWN guest=true without a known reason, after SUSPEND_DISK",
     [](In in) { return in.unexplained_from_guest() && in.hibernated(); }, kUser, kAdmin,
     kGuestHibernate},
    {"legacy-guest", "SHUTDOWN guest=true without a known reason",
     [](In in) { return in.unexplained_from_guest(); }, kUser, kAdmin, kGuestRequest},
    {"shutdown-unexplained", "SHUTDOWN without guest and without a known reason",
     [](In in) { return in.down(); }, kUnknown, kAdmin, kUnobserved},

    // No SHUTDOWN, and the process is gone: decided by the state that the run was in, and by the
    // exit that the kernel reports.
    {"manager-crashed",
     "no SHUTDOWN seen here, and libvirt reports a crash of the guest, of which no "
     "GUEST_PANICKED was seen (`virsh dump --crash` looks the same)",
     [](In in) { return in.manager_says(ManagerEnd::kCrashed); }, kUnknown, kAdmin, kUnobserved},
    {"host-signal-exit", "no SHUTDOWN, exit by SIGTERM, SIGINT or SIGHUP",
     [](In in) { return in.exit_by_request(); }, kAdmin, kAdmin, kHostSignal},
    {"incoming-failed",
     "no SHUTDOWN, exit not with 0, and the VM was not seen running: its run state was "
     "`inmigrate`, no RESUME since",
     [](In in) { return Seen(in.evidence.incoming) && in.failed() && in.exit_signal() == 0; },
     kAdmin, kAdmin, kMigrationFailed},
    {"never-ran",
     "no SHUTDOWN, however the process ended, and the VM was not seen running: its run state was "
     "`inmigrate` or `prelaunch`, or its monitor closed before QEMU reported one; no RESUME since",
     [](In in) { return Seen(in.evidence.never_ran); }, kUnknown, kAdmin, kNeverRan},
    {"migration-unfinished",
     "no SHUTDOWN, however the process ended, and `finish-migrate` was the last run state, no "
     "RESUME since; or none was reported since a STOP, and QEMU ended neither with 0 nor by "
     "another process",
     [](In in) { return Seen(in.evidence.finishing_migration) || in.may_have_migrated(); },
     kUnknown, kAdmin, kMigrationUnfinished},
    {"out-of-memory",
     "no SHUTDOWN, exit by SIGKILL that no process is known to have sent, and the kernel named it "
     "as its OOM victim, or the OOM kills of its cgroup rose; or systemd-oomd, earlyoom, nohang or "
     "oomd sent it, as root or as another user than QEMU's",
     [](In in) { return in.out_of_memory(); }, kCrash, kCrash, kOutOfMemory},
    {"down-unseen",
     "no SHUTDOWN seen here, exit by SIGKILL or another's SIGQUIT, or as `host-signal-words`: of a "
     "QEMU that stays when its guest is down, and whose monitor was lost or another client's; or "
     "libvirt's, by libvirtd or virtqemud",
     [](In in) { return in.may_have_been_down(); }, kUnknown, kAdmin, kUnobserved},
    {"killed-by-host",
     "no SHUTDOWN, exit by SIGKILL, and another process of the host sent it, as the kernel showed; "
     "or ended the first process of its container by SIGKILL, SIGTERM, SIGINT or SIGQUIT, with "
     "which the kernel killed the rest of that",
     [](In in) { return in.killed_by_other_process(); }, kAdmin, kAdmin, kHostKill},
    {"ended-by-host",
     "no SHUTDOWN, exit by SIGQUIT, and another process of the host sent it, or the kernel for a "
     "terminal",
     [](In in) { return in.ended_by_other_process(); }, kAdmin, kAdmin, kHostKill},
    {"never-greeted",
     "no SHUTDOWN, exit by a signal or not with 0, and QEMU had not sent a greeting in the less "
     "than 2 minutes since its start",
     [](In in) { return in.evidence.never_greeted && in.failed(); }, kUnknown, kAdmin, kNeverRan},
    {kKilledUnseenRule,
     "no SHUTDOWN, exit by SIGKILL or SIGQUIT, and who sent it is not known: the kernel has no "
     "record, as its records are not read or some were dropped; or it came while vmeventd was "
     "restarted, or with a code that the kernel's timers and any process may give it; or a process "
     "sent it that QEMU may have started, or the kernel as QEMU's parent (PR_SET_PDEATHSIG) or "
     "tracer (PTRACE_O_EXITKILL) ended, or with its container, whose first process had ended "
     "without a known signal",
     [](In in) { return in.ended_by_unknown() || in.ended_with_another() || in.sender_unproven(); },
     kUnknown, kAdmin, kUnobserved, /*file_class=*/kCrash},
    {"qemu-killed",
     "no SHUTDOWN, exit by SIGKILL, and the kernel sent it, QEMU itself, or what it started",
     [](In in) { return in.killed(); }, kCrash, kAdmin, kQemuKilled},
    {"guest-exit",
     "no SHUTDOWN, exit with a code above 1, and QEMU's command line has isa-debug-exit or "
     "semihosting, by which a guest ends it",
     [](In in) { return in.ended_by_guest(); }, kUser, kAdmin, kGuestRequest},
    {"exit-unclear",
     "no SHUTDOWN, exit with 1, and QEMU's command line has one of these: its guest's, or QEMU's "
     "own",
     [](In in) { return in.evidence.guest_can_exit && in.failed() && in.exit_signal() == 0; },
     kUnknown, kAdmin, kUnobserved},
    {"qemu-crashed", "no SHUTDOWN, exit by another signal (SIGSEGV, SIGABRT, ...) or not with 0",
     [](In in) { return in.failed(); }, kCrash, kCrash, kQemuCrashed},
    {"host-signal-words",
     "no SHUTDOWN seen here, exit with 0 or not known how, and QEMU's last words in libvirt's log "
     "or the journal are that it terminates on a signal of another process, of which the kernel "
     "showed none; or its last words, wherever they are, name the sender that the kernel showed",
     [](In in) { return in.evidence.words_name_signaller && !in.failed() && !in.killed(); }, kAdmin,
     kAdmin, kHostSignal},
    {"manager-shutdown", "no SHUTDOWN seen here, but libvirt saw an orderly shutdown",
     [](In in) { return in.manager_says(ManagerEnd::kShutdown); }, kUnknown, kAdmin, kUnobserved},
    {"paused-exit",
     "no SHUTDOWN, exit with 0 of a VM that was followed to its end and was paused, as by a "
     "debugger's kill",
     [](In in) { return in.evidence.monitored && in.exited() && Seen(in.evidence.paused); }, kAdmin,
     kAdmin, kHostRequest},
    {"clean-exit",
     "no SHUTDOWN, exit with 0 of a VM that was followed to its end: QEMU did not crash, and did "
     "not report who ended it",
     [](In in) { return in.evidence.monitored && in.exited(); }, kUnknown, kAdmin, kUnobserved},
    {"process-exited",
     "no SHUTDOWN, the process of a VM that was followed to its end is gone, not known how",
     [](In in) { return in.evidence.monitored; }, kUnknown, kAdmin, kProcessExited,
     /*file_class=*/kCrash},
    {"unobserved",
     "the monitor gave no greeting, went to another client or was lost, or libvirt was, or the "
     "process was gone before it could be followed: nobody here saw the end",
     [](In) { return true; }, kUnknown, kAdmin, kUnobserved},
};

}  // namespace rules

inline constexpr const auto& kClassificationRules = rules::kTable;

}  // namespace vmeventd
