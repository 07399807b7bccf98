#include "tests/watcher/session/classification_document.h"

#include "absl/strings/str_cat.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/causes.h"
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

*The window* is `--powerdown-window` (default 10 minutes). A press of the power button may be as old as this to count as the
cause of a guest's poweroff. Evidence counts until something clears it, as the table at the end shows. Of several SHUTDOWNs
the first that is not cleared counts. What was seen before a restart of vmeventd counts after it, unless a missed reset would
have made it void (rule `snapshot`). While the monitor is lost, a missing SHUTDOWN is no evidence.

*An intent* (`DeclareIntent`) is the declaration of somebody on the host that the VM is about to end, and why. The class is
then the one of the column *intended*; the cause stays the one that the evidence shows. What nobody would intend stays a
CRASH. An intent counts if it was open when the deciding evidence was seen: the SHUTDOWN, the panic, or otherwise the end of
the process. An end that vmeventd did not see counts as intended if the intent had not expired when the process was found
gone. After that no intent can be declared (FAILED_PRECONDITION), and the expiry or withdrawal of an intent that counted
changes nothing.

*A guest agent* is a way past the monitor. A host that asks the guest through qemu-guest-agent, as libvirt and Proxmox VE do
if one is configured, causes no POWERDOWN, and QEMU reports the guest's own shutdown. If an agent was connected at the
SHUTDOWN of a USER's end, or left within the window before it, the verdict has the caveat `GUEST_AGENT_CONNECTED` in
`shutdown.caveats`, and the evidence shows since when. At each attach vmeventd asks for the virtio-serial port
`org.qemu.guest_agent.0`, and whether the guest has it open. Then it follows VSERPORT_CHANGE, which QEMU sends only for a
port whose device has an id. For a port without an id the caveat is `GUEST_AGENT_POSSIBLE`, and so it is if the guest shut
down before QEMU had answered: up to 0.2 s after an attach. An agent on another kind of device (isa-serial) is not
recognised.

*A press of the power button that is older than the window* does not count: a guest that ignored it may power itself off much
later. But it may have obeyed late, so the verdict USER has the caveat `POWERDOWN_EARLIER`. So has the verdict on a guest
that rebooted after a press, for example for updates. A watchdog's press (action shutdown) has the same window.

*A press that nobody saw* is possible if nobody listened at some time within the window before the SHUTDOWN, and no RESET
came since. The verdict USER then has the caveat `POWERDOWN_UNSEEN`. This is so after an attach 3 s or more after QEMU's
start, an arrival by migration or restore, a lost monitor, or a restart without a handover.

*A QEMU that stays when its guest is down* (`-no-shutdown`, as libvirt always runs it, or `-action` with `pause`) is then
ended by its manager: rule `down-unseen`.

*A return to a snapshot* (`loadvm`, `snapshot-load`) sends no RESET. It sends STOP and RESUME, or only a RESUME if the VM was
paused; a VM that is paused and resumed sends the same. A panic, a WATCHDOG or a POWERDOWN before a RESUME counts if the
class is the same without it. If not, the class is UNKNOWN, by the rule `snapshot`. The same applies after a time in which
nobody followed the VM, because it may have been reset or resumed, and to a SHUTDOWN of a QEMU that stays when its guest is
down. A resume would have voided the evidence that the VM had migrated away, had not run here, or was paused.

*A VM that never ran here* has not ended here. Its QEMU waited for an incoming migration or for a saved
memory (run state `inmigrate`), or for its manager's `cont` (`prelaunch`), and vmeventd saw no RESUME. The VM may run at the
migration's source, so no such end is a CRASH.

*The host shuts down* from the time when systemd-logind or systemd reports it until they report that it was cancelled. It
also shuts down when its systemd-shutdown (process 1, not a container's) or killall5 sends signals. Every end that a process
of the host asks for or causes in this time is `HOST_SHUTDOWN`. If a guest powers itself off, and QEMU does not show that it
was asked, the class is USER, with the caveat `HOST_SHUTTING_DOWN`. If a guest agent is connected, vmeventd assumes that the
guest was asked, because managers use the agent to shut their guests down.

The exit status also counts if another client held the monitor. A QEMU that runs handles SIGTERM, SIGINT and SIGHUP and
reports them by SHUTDOWN. If one of these signals ended the process, it was sent while QEMU started up.

| rule | when | class | intended | cause |
|---|---|---|---|---|
)";

constexpr absl::string_view kClearingsHead = R"(
## What clears evidence

RESET starts a new life of the guest. RESUME means that the VM runs again. An answer of `query-status` counts as a RESUME in
two cases. In the first, it reports after the monitor was away that the VM runs. In the second, it reports that the VM is
paused although a guest's SHUTDOWN was in force, because only a reset takes a QEMU out of `shutdown`. A RESUME clears neither
the panic of a guest nor a watchdog's press of the power button (action shutdown); but in both cases the VM may have returned
to a snapshot, as above.

| seen | cleared by |
|---|---|
)";

}  // namespace

std::string ClassificationDocument() {
  std::string document(kDocumentHead);
  for (const Rule& rule : kClassificationRules) {
    absl::StrAppend(&document, "| `", rule.id, "` | ", rule.condition, " | ",
                    ShutdownClassName(rule.shutdown_class), " | ",
                    ShutdownClassName(rule.intended_class), " | ", ShutdownCauseName(rule.cause),
                    ": ", TraitsOf(rule.cause).sentence, " |\n");
  }
  absl::StrAppend(&document, kClearingsHead);
  constexpr const char* kClearings[] = {"RESET", "RESUME", "RESET, RESUME"};  // in the enum's order
  for (const Clearable& row : Clearables()) {
    absl::StrAppend(&document, "| ", row.what, " | ", kClearings[row.by - 1], " |\n");
  }
  return document;
}

}  // namespace vmeventd
