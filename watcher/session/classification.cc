#include "watcher/session/classification.h"

#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "watcher/session/classification_rules.h"

namespace vmeventd {
namespace {

// qapi/run-state.json. `none`, `subsystem-reset` and `snapshot-load` do not end a VM; should one
// come with a SHUTDOWN all the same, its `guest` decides.
constexpr std::pair<absl::string_view, ShutdownReason> kReasonNames[] = {
    {"host-error", ShutdownReason::kHostError},
    {"host-qmp-quit", ShutdownReason::kHostQmpQuit},
    {"host-qmp-system-reset", ShutdownReason::kHostQmpSystemReset},
    {"host-signal", ShutdownReason::kHostSignal},
    {"host-ui", ShutdownReason::kHostUi},
    {"guest-shutdown", ShutdownReason::kGuestShutdown},
    {"guest-reset", ShutdownReason::kGuestReset},
    {"guest-panic", ShutdownReason::kGuestPanic},
};

}  // namespace

ShutdownReason ParseShutdownReason(absl::string_view reason) {
  if (reason.empty()) return ShutdownReason::kMissing;
  for (const auto& [name, known] : kReasonNames) {
    if (name == reason) return known;
  }
  return ShutdownReason::kOther;
}

namespace {

// Returns whether what a return to a snapshot may have made void makes another class.
bool SnapshotMatters(const Evidence& evidence, absl::Duration powerdown_window) {
  if (!evidence.panic_doubted && !evidence.watchdog_doubted && !evidence.powerdown_doubted) {
    return false;
  }
  Evidence with = evidence;
  with.panic_doubted = with.watchdog_doubted = with.powerdown_doubted = false;
  Evidence without = with;
  if (evidence.panic_doubted) without.guest_panicked = false;
  if (evidence.watchdog_doubted) without.watchdog_expired = without.watchdog_paused = false;
  if (evidence.powerdown_doubted && without.shutdown.has_value()) {
    without.shutdown->powerdown_age.reset();
  }
  return Classify(with, powerdown_window).shutdown_class !=
         Classify(without, powerdown_window).shutdown_class;
}

}  // namespace

Verdict Classify(const Evidence& evidence, absl::Duration powerdown_window) {
  const bool in_window = evidence.shutdown.has_value() &&
                         evidence.shutdown->powerdown_age.has_value() &&
                         *evidence.shutdown->powerdown_age <= powerdown_window;
  const RuleInput input{evidence, in_window, SnapshotMatters(evidence, powerdown_window)};
  const Rule* rule = kClassificationRules;
  while (!rule->holds(input)) ++rule;  // the last one always holds
  if (evidence.intended) return {rule->intended_class, rule->cause, rule->id, rule->intended_class};
  return {rule->shutdown_class, rule->cause, rule->id,
          rule->file_class.value_or(rule->shutdown_class)};
}

bool EndsTheHost(const SignalSender& sender) {
  // systemd-shutdown runs as process 1, unless a container ends; killall5 is sysvinit's. The kernel
  // cuts a comm at 15 bytes.
  constexpr int64_t kInit = 1;
  return sender.uid == 0 && !sender.of_qemu &&
         ((sender.command == "systemd-shutdow" && sender.pid == kInit) ||
          sender.command == "killall5");
}

bool IsDecided(const Evidence& evidence) {
  return evidence.shutdown.has_value() || (evidence.guest_panicked && !evidence.panic_doubted) ||
         (evidence.watchdog_expired && !evidence.watchdog_doubted) || evidence.internal_error ||
         evidence.migrated || evidence.down_before_attach;
}

absl::string_view ShutdownClassName(ShutdownClass shutdown_class) {
  switch (shutdown_class) {
    case ShutdownClass::kUser:
      return "USER";
    case ShutdownClass::kAdmin:
      return "ADMIN";
    case ShutdownClass::kCrash:
      return "CRASH";
    case ShutdownClass::kUnknown:
      return "UNKNOWN";
  }
  return "";
}

namespace {

struct CauseText {
  ShutdownCause cause;
  absl::string_view name;
  absl::string_view sentence;
};

constexpr CauseText kCauseTexts[] = {
    {ShutdownCause::kGuestPoweroff, "GUEST_POWEROFF", "the guest powered itself off"},
    {ShutdownCause::kGuestRebootExit, "GUEST_REBOOT_EXIT",
     "the guest rebooted, and QEMU runs with -no-reboot: its manager may start it again"},
    {ShutdownCause::kGuestHibernate, "GUEST_HIBERNATE", "the guest hibernated (suspend to disk)"},
    {ShutdownCause::kHostPowerdown, "HOST_POWERDOWN",
     "the host pressed the power button and the guest obeyed"},
    {ShutdownCause::kHostQuit, "HOST_QUIT", "the host sent QEMU a quit command"},
    {ShutdownCause::kHostSignal, "HOST_SIGNAL", "the host sent QEMU a SIGTERM, SIGINT or SIGHUP"},
    {ShutdownCause::kHostUi, "HOST_UI", "QEMU's window was closed on the host"},
    {ShutdownCause::kHostResetExit, "HOST_RESET_EXIT",
     "the host reset the VM, and QEMU runs with -no-reboot"},
    {ShutdownCause::kMigratedAway, "MIGRATED_AWAY",
     "the VM was migrated away and lives on elsewhere"},
    {ShutdownCause::kGuestPanic, "GUEST_PANIC", "the guest's kernel panicked"},
    {ShutdownCause::kWatchdog, "WATCHDOG", "the guest stopped feeding its watchdog"},
    {ShutdownCause::kHostError, "HOST_ERROR", "QEMU reported an error of the host"},
    {ShutdownCause::kQemuKilled, "QEMU_KILLED", "QEMU was killed (SIGKILL), by whom is not known"},
    {ShutdownCause::kQemuCrashed, "QEMU_CRASHED", "QEMU crashed, or exited with an error"},
    {ShutdownCause::kOutOfMemory, "OUT_OF_MEMORY", "QEMU was killed because memory ran out"},
    {ShutdownCause::kProcessExited, "PROCESS_EXITED", "QEMU ended without reporting why"},
    {ShutdownCause::kUnobserved, "UNOBSERVED", "what ended it is not known"},
    {ShutdownCause::kHostRequest, "HOST_REQUEST",
     "the host ended it; this QEMU does not report how"},
    {ShutdownCause::kGuestRequest, "GUEST_REQUEST", "the guest ended itself; how is not known"},
    {ShutdownCause::kHostDestroy, "HOST_DESTROY", "the host destroyed the VM through its manager"},
    {ShutdownCause::kHostSave, "HOST_SAVE",
     "the host saved the VM's memory to a file and ended QEMU"},
    {ShutdownCause::kMigrationFailed, "MIGRATION_FAILED",
     "an incoming migration or a restore failed before the VM ran here"},
    {ShutdownCause::kNeverRan, "NEVER_RAN", "QEMU ended before its VM was seen running"},
    {ShutdownCause::kMigrationUnfinished, "MIGRATION_UNFINISHED",
     "QEMU ended while it finished a migration: the VM may live on elsewhere"},
    {ShutdownCause::kHostKill, "HOST_KILL", "a process of the host killed QEMU"},
    {ShutdownCause::kHostShutdown, "HOST_SHUTDOWN", "the VM ended because its host shut down"},
};

constexpr bool EachCauseIsAtItsPlace() {
  int number = 0;
  for (const CauseText& text : kCauseTexts) {
    if (static_cast<int>(text.cause) != ++number) return false;
  }
  return number == static_cast<int>(kLastShutdownCause);
}
static_assert(EachCauseIsAtItsPlace());

const CauseText& TextOf(ShutdownCause cause) { return kCauseTexts[static_cast<int>(cause) - 1]; }

}  // namespace

absl::string_view ShutdownCauseName(ShutdownCause cause) { return TextOf(cause).name; }

absl::string_view CauseSentence(ShutdownCause cause) { return TextOf(cause).sentence; }

std::string DescribeExit(const ExitStatus& status) {
  if (status.signal == 0) return absl::StrCat("exit code ", status.code);
  std::string text = absl::StrCat("exit signal ", status.signal);
  if (sigabbrev_np(status.signal) == nullptr) return text;
  return absl::StrCat(text, " (", SignalName(status.signal), ")");
}

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name == nullptr ? absl::StrCat("signal ", signal) : absl::StrCat("SIG", name);
}

std::string DescribeSender(const SignalSender& sender) {
  if (sender.first_process != 0) {
    const std::string first =
        absl::StrCat("the kernel, because the first process of its container (pid ",
                     sender.first_process, ") ended");
    if (sender.first_signal == 0) return first;
    SignalSender sent = sender;
    sent.first_process = 0;
    return absl::StrCat(first, " after a ", SignalName(sender.first_signal), " of ",
                        DescribeSender(sent));
  }
  if (sender.by_kernel) return "the kernel";
  if (sender.said_by_qemu) {
    return absl::StrCat(sender.command.empty() ? "a process" : sender.command, " (pid ", sender.pid,
                        ", as QEMU reports)");
  }
  if (!sender.uid.has_value()) {
    return absl::StrCat(sender.of_qemu ? "QEMU or a process of its own" : "a process that is gone",
                        " (pid ", sender.pid, ")");
  }
  const bool nameless = absl::StripAsciiWhitespace(sender.command).empty();
  return absl::StrCat(nameless ? "a process without a name" : sender.command, " (pid ", sender.pid,
                      ", uid ", *sender.uid, sender.cgroup.empty() ? "" : ", ", sender.cgroup,
                      sender.of_qemu ? ", of QEMU's own" : "", ")");
}

}  // namespace vmeventd
