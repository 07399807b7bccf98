#include "tests/watcher/session/classification_document.h"

#include "absl/strings/str_cat.h"
#include "watcher/session/classification.h"
#include "watcher/session/classification_rules.h"
#include "watcher/session/evidence_log.h"

namespace vmeventd {
namespace {

constexpr absl::string_view kDocumentHead = R"(# Why a VM stopped: the rules

This page is generated from the tables in `watcher/session/classification_rules.h` and
`watcher/session/evidence_log.cc`; `./dev docs` writes it, and a test compares them. The first rule that
matches decides. Every `STOPPED` event names its rule in `shutdown.rule` and what it saw in
`shutdown.evidence`.

*The window* is `--powerdown-window` (default 10 minutes): how old a press of the power button may
be to count as the cause of a guest's poweroff. Evidence counts until something clears it: the table
at the end says what. Of several SHUTDOWNs the first that is not cleared counts. What was seen before a
restart of vmeventd counts after it, unless a reset that was missed would have made it void (rule `snapshot`). While the monitor is lost, a missing SHUTDOWN says nothing.

*An intent* (`DeclareIntent`) is what somebody on the host said beforehand: that and why the VM is about to end. The
class is then the one of the column *intended*; the cause stays the one that the evidence shows. What nobody would intend
stays a CRASH. An intent counts if it was open when what decides was seen: the SHUTDOWN, the panic, or else the end of the
process. An end that vmeventd did not see counts as intended if the intent had not expired when the process was found gone.
After that none can be declared (FAILED_PRECONDITION), and neither the expiry nor the withdrawal of one that counted changes
anything.

*A guest agent* is a way past the monitor: a host that asks the guest through qemu-guest-agent, as libvirt and Proxmox VE do
where one is configured, causes no POWERDOWN, and QEMU reports the guest's own shutdown. Where an agent was connected at a
USER's SHUTDOWN, or left at most the window before it, the verdict has the caveat `GUEST_AGENT_CONNECTED` in
`shutdown.caveats`, and the evidence says since when. vmeventd asks at each attach (the virtio-serial port
`org.qemu.guest_agent.0`, and whether the guest has it open) and follows VSERPORT_CHANGE. QEMU sends that only for a port
whose device has an id; for another the caveat is `GUEST_AGENT_POSSIBLE`, as where the guest shut down before QEMU had
answered: up to 0.2 s after an attach. An agent on another kind of device (isa-serial) is not recognised.

*A press of the power button that is older than the window* does not count: a guest that ignored it may power itself off much
later. It may have obeyed late: the USER's verdict has the caveat `POWERDOWN_EARLIER`, also of a guest that rebooted after a
press, as for updates. A watchdog's press (action shutdown) has the same window.

*A press that nobody saw*: where nobody listened at some time within the window before the SHUTDOWN, no
RESET since, the USER's verdict has the caveat `POWERDOWN_UNSEEN`: after an attach 3 s or more after QEMU's start, an arrival
by migration or restore, a lost monitor, or a restart without a handover.

*A QEMU that stays when its guest is down* (`-no-shutdown`, as libvirt always runs it, or `-action` with `pause`) is then
ended by its manager: rule `down-unseen`.

*A return to a snapshot* (`loadvm`, `snapshot-load`) sends no RESET: STOP and RESUME, or a RESUME alone where the VM was
paused. So does a VM that is paused and goes on. A panic, a WATCHDOG or a POWERDOWN before a RESUME counts where the class
is the same without it; where it is not, the class is UNKNOWN, by the rule `snapshot`. The same holds after a time in which
nobody followed the VM, which may have been reset; and for a SHUTDOWN of a QEMU that stays when its guest is down.

*A VM that never ran here* has not ended here. Its QEMU waited for an incoming migration or for a saved
memory (run state `inmigrate`), or for its manager's `cont` (`prelaunch`), and vmeventd saw no RESUME: the
VM may run at the migration's source, so no such end is a CRASH.

*The host shuts down* from when systemd-logind or systemd say so until they say that it was cancelled, and so does one
whose systemd-shutdown (process 1, not a container's) or killall5 sends signals. Every end that a process of the host
asks for or causes meanwhile is `HOST_SHUTDOWN`. A guest that powers
itself off unasked, as far as QEMU says, is the USER's, with the caveat `HOST_SHUTTING_DOWN`. Where a guest agent is connected
vmeventd takes it for asked, because managers that find one shut their guests down by it.

The exit status counts also where another client held the monitor. A QEMU that runs handles
SIGTERM, SIGINT and SIGHUP and says so by SHUTDOWN; as what ended the process they were sent while it started up.

| rule | when | class | intended | cause |
|---|---|---|---|---|
)";

constexpr absl::string_view kClearingsHead = R"(
## What clears evidence

RESET is a guest's new life. RESUME stands for a VM that runs again,
and so does an answer of `query-status` that says so after the monitor was away, or that the VM is
paused where a guest's SHUTDOWN stood: only a reset takes a QEMU out of `shutdown`. A RESUME heals
neither a guest that panicked nor one whose watchdog pressed the power button (action shutdown); but either may have returned to a snapshot, as above.

)";

}  // namespace

std::string ClassificationDocument() {
  std::string document(kDocumentHead);
  for (const Rule& rule : kClassificationRules) {
    absl::StrAppend(&document, "| `", rule.id, "` | ", rule.condition, " | ",
                    ShutdownClassName(rule.shutdown_class), " | ",
                    ShutdownClassName(rule.intended_class), " | ", ShutdownCauseName(rule.cause),
                    ": ", CauseSentence(rule.cause), " |\n");
  }
  absl::StrAppend(&document, kClearingsHead, ClearingsTable());
  return document;
}

}  // namespace vmeventd
