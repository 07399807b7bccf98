#include "watcher/core/classification.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "watcher/core/classification_rules.h"

namespace vmeventd {
namespace {

struct ReasonName {
  absl::string_view name;
  ShutdownReason reason;
};

// qapi/run-state.json. `none`, `subsystem-reset` and `snapshot-load` do not end a VM; should one
// come with a SHUTDOWN all the same, its `guest` decides.
constexpr ReasonName kReasonNames[] = {
    {"host-error", ShutdownReason::kHostError},
    {"host-qmp-quit", ShutdownReason::kHostQmpQuit},
    {"host-qmp-system-reset", ShutdownReason::kHostQmpSystemReset},
    {"host-signal", ShutdownReason::kHostSignal},
    {"host-ui", ShutdownReason::kHostUi},
    {"guest-shutdown", ShutdownReason::kGuestShutdown},
    {"guest-reset", ShutdownReason::kGuestReset},
    {"guest-panic", ShutdownReason::kGuestPanic},
};

constexpr absl::string_view kDocumentHead = R"(# Why a VM stopped: the rules

This page is generated from `watcher/core/classification_rules.h`; `./dev docs` writes it, and a
test compares them. The first rule that matches decides. Every `STOPPED` event names its rule in
`shutdown.rule` and lists what the rule saw in `shutdown.evidence`, so that a reader can check the
verdict.

*The window* is `--powerdown-window` (default 10 minutes): how old a press of the power button may
be to count as the cause of a guest's poweroff. A guest reset clears a panic, a watchdog, a
POWERDOWN, a SHUTDOWN and a hibernation; RESUME clears a STOP, a SHUTDOWN, a migration and a
watchdog that paused the VM (action pause), and so does a VM that `query-status` finds running after
its monitor was away. A watchdog that pressed the power button (action shutdown) stands until a
reset. Of several SHUTDOWNs the first that is not cleared counts. What was seen before a restart of
vmeventd counts after it. While the monitor is lost nobody listens: that no SHUTDOWN came says
nothing then.

*An intent* (`DeclareIntent`) is what somebody on the host said beforehand: that and why the VM is
about to end. The class is then the one of the column *intended*, whatever was used to end the VM;
the cause stays the one that the evidence tells. What nobody would intend stays a CRASH: a guest
that panics or hangs, a QEMU that crashes or gives up, memory that runs out. An intent counts if it
was open when what decides was seen: the SHUTDOWN, the panic, or else the end of the process. An end
that vmeventd did not see counts as intended if the intent had not expired when the process was found
gone. An intent cannot be declared after that (FAILED_PRECONDITION), and neither the expiry nor the
withdrawal of one that counted changes anything.

*A guest agent* is a way past the monitor: a host that asks the guest for a shutdown through
qemu-guest-agent, as libvirt and Proxmox VE do where an agent is configured, causes no POWERDOWN, and
QEMU reports the guest's own shutdown. vmeventd cannot tell the two apart, and says so: where an agent
was connected at a SHUTDOWN that counts as the USER's, or left at most the window before it, the
verdict has the caveat `GUEST_AGENT_CONNECTED` in `shutdown.caveats`, and the evidence says since when.
Whether one is connected is asked at each attach (the virtio-serial port `org.qemu.guest_agent.0`, and
whether the guest has it open) and follows VSERPORT_CHANGE afterwards. QEMU sends that event only for
a port whose device has an id; for another the caveat is `GUEST_AGENT_POSSIBLE`. An agent on another
kind of device (isa-serial) is not recognised. A host that declares an intent before it asks the agent
leaves no doubt: the stop is then an ADMIN's, without a caveat.

The exit status is the kernel's word, and so counts even where another client held the monitor to the
end. A QEMU that runs handles SIGTERM, SIGINT and SIGHUP and says so by SHUTDOWN; as what ended the
process they were sent while it started up.

| rule | when | class | intended | cause |
|---|---|---|---|---|
)";

}  // namespace

ShutdownReason ParseShutdownReason(absl::string_view reason) {
  if (reason.empty()) return ShutdownReason::kMissing;
  for (const ReasonName& entry : kReasonNames) {
    if (entry.name == reason) return entry.reason;
  }
  return ShutdownReason::kOther;
}

Verdict Classify(const Evidence& evidence, absl::Duration powerdown_window) {
  const bool in_window = evidence.shutdown.has_value() &&
                         evidence.shutdown->powerdown_age.has_value() &&
                         *evidence.shutdown->powerdown_age <= powerdown_window;
  const RuleInput input{evidence, in_window};
  const Rule* rule = kClassificationRules;
  while (!rule->holds(input)) ++rule;  // the last one always holds
  return {evidence.intended ? rule->intended_class : rule->shutdown_class, rule->cause, rule->id};
}

bool IsDecided(const Evidence& evidence) {
  return evidence.shutdown.has_value() || evidence.guest_panicked || evidence.watchdog_expired ||
         evidence.migrated || evidence.down_before_attach || evidence.shutdown_file_found;
}

std::string ClassificationDocument() {
  std::string document(kDocumentHead);
  for (const Rule& rule : kClassificationRules) {
    absl::StrAppend(&document, "| `", rule.id, "` | ", rule.condition, " | ",
                    ShutdownClassName(rule.shutdown_class), " | ",
                    ShutdownClassName(rule.intended_class), " | ", ShutdownCauseName(rule.cause),
                    ": ", CauseSentence(rule.cause), " |\n");
  }
  return document;
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
     "the guest rebooted, and QEMU runs with -no-reboot"},
    {ShutdownCause::kGuestHibernate, "GUEST_HIBERNATE", "the guest hibernated (suspend to disk)"},
    {ShutdownCause::kHostPowerdown, "HOST_POWERDOWN",
     "the host pressed the power button and the guest obeyed"},
    {ShutdownCause::kHostQuit, "HOST_QUIT", "the host told QEMU to quit"},
    {ShutdownCause::kHostSignal, "HOST_SIGNAL", "the host sent QEMU a SIGTERM, SIGINT or SIGHUP"},
    {ShutdownCause::kHostUi, "HOST_UI", "QEMU's window was closed on the host"},
    {ShutdownCause::kHostResetExit, "HOST_RESET_EXIT",
     "the host reset the VM, and QEMU runs with -no-reboot"},
    {ShutdownCause::kMigratedAway, "MIGRATED_AWAY",
     "the VM was migrated away and lives on elsewhere"},
    {ShutdownCause::kGuestPanic, "GUEST_PANIC", "the guest's kernel panicked"},
    {ShutdownCause::kWatchdog, "WATCHDOG", "the guest stopped feeding its watchdog"},
    {ShutdownCause::kHostError, "HOST_ERROR", "QEMU met an error on the host"},
    {ShutdownCause::kQemuKilled, "QEMU_KILLED", "QEMU was killed (SIGKILL), by whom is not known"},
    {ShutdownCause::kQemuCrashed, "QEMU_CRASHED", "QEMU crashed, or gave up with an error"},
    {ShutdownCause::kOutOfMemory, "OUT_OF_MEMORY",
     "the kernel killed QEMU because its memory ran out"},
    {ShutdownCause::kProcessExited, "PROCESS_EXITED", "QEMU went without a word"},
    {ShutdownCause::kUnobserved, "UNOBSERVED", "it ended without being seen"},
    {ShutdownCause::kHostRequest, "HOST_REQUEST", "the host ended it; this QEMU does not say how"},
    {ShutdownCause::kGuestRequest, "GUEST_REQUEST", "the guest ended itself; how is not known"},
};

const CauseText& TextOf(ShutdownCause cause) {
  const CauseText* text = kCauseTexts;
  while (text->cause != cause) ++text;
  return *text;
}

}  // namespace

absl::string_view ShutdownCauseName(ShutdownCause cause) { return TextOf(cause).name; }

absl::string_view CauseSentence(ShutdownCause cause) { return TextOf(cause).sentence; }

std::string DescribeExit(const ExitStatus& status) {
  if (status.signal == 0) return absl::StrCat("exit code ", status.code);
  const char* const name = sigabbrev_np(status.signal);
  const std::string text = absl::StrCat("exit signal ", status.signal);
  return name == nullptr ? text : absl::StrCat(text, " (SIG", name, ")");
}

}  // namespace vmeventd
