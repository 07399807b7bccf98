#include "client/doctor/diagnose_daemon.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/doctor/commands_to_paste.h"
#include "client/doctor/monitor_paths.h"
#include "client/doctor/node_facts.h"
#include "client/output/shell_quote.h"
#include "client/output/vm_text.h"
#include "watcher/core/manager_logs.h"
#include "watcher/core/proc_texts.h"

namespace vmeventd::client {
namespace {

// The line that restarts the daemon, or shows how it was started.
std::string RestartLine(const Examination& exam) {
  const NodeProcess* const daemon = exam.daemon();
  if (daemon == nullptr) return absl::StrCat("systemctl restart ", kDaemonUnit);
  const std::string unit = UnitOf(daemon->cgroups);
  // Podman runs the container of a quadlet in the cgroup of its unit.
  const bool is_quadlet = absl::StrContains(daemon->cgroups, ".service/libpod-payload-");
  if (is_quadlet || (absl::EndsWith(unit, ".service") && !IsContained(*daemon))) {
    std::string manager;
    if (absl::StrContains(daemon->cgroups, "/user.slice/")) {
      manager = "--user ";
      if (exam.facts().is_root) {
        absl::StrAppend(&manager, "-M ", QuoteForShell(absl::StrCat(daemon->user, "@.host")), " ");
      }
    }
    return absl::StrCat("systemctl ", manager, "restart ", QuoteForShell(unit));
  }
  if (const auto line = EngineCommand(daemon->cgroups, "restart")) return *line;
  return absl::StrCat("ps -o pid,user,lstart,args -p ", daemon->pid);
}

}  // namespace

void DiagnoseService(Examination* exam) {
  const std::string unit = exam->DaemonUnit();
  const std::string log =
      unit.empty() ? absl::StrCat(exam->facts().client, " info")
                   : absl::StrCat("journalctl -n 30 --no-pager -u ", QuoteForShell(unit));
  if (!exam->facts().is_serving) {
    exam->Add("daemon", {exam->facts().address},
              "vmeventd follows no VM now: it is starting or stopping, or its watcher does not "
              "respond. Its log has the reason.",
              log);
  }
  for (const v1::Listener& listener : exam->facts().info.listeners()) {
    if (listener.listening()) continue;
    exam->Add("listen", {listener.address()},
              "vmeventd cannot listen there, and tries again: no client reaches it by this "
              "address. Its log has the reason.",
              log);
  }
}

void DiagnoseRights(Examination* exam) {
  if (exam->facts().is_root || !exam->facts().examined) return;
  exam->Add("rights", {"vmevents doctor"},
            "Only root sees the sockets of other users' processes, and so who holds a monitor.",
            absl::StrCat("sudo ", exam->facts().client, " doctor"));
}

void DiagnoseJournal(Examination* exam) {
  const v1::GetServerInfoResponse& info = exam->facts().info;
  if (!info.has_journal_problem()) return;
  const v1::Problem& problem = info.journal_problem();
  const std::string& path = info.journal_path();
  const bool damaged = problem.code() == v1::PROBLEM_CODE_JOURNAL_DAMAGED;
  exam->Add("journal", {path},
            absl::StrCat("New events are not durable: ", problem.text(),
                         damaged ? ". Restart vmeventd: it then checks the file again, and "
                                   "replaces a damaged one."
                                 : ". They wait in memory, and vmeventd writes them once the disk "
                                   "takes them: do not stop it."),
            damaged ? RestartLine(*exam)
                    : absl::StrCat("findmnt -T ", QuoteForShell(DirectoryOf(path)),
                                   " -o TARGET,SOURCE,OPTIONS,AVAIL,USE%"));
}

void DiagnoseHostShutdown(Examination* exam) {
  const v1::HostShutdownWatch& host = exam->facts().info.host_shutdown();
  if (!exam->facts().has_systemd || !host.has_problem()) return;  // systemd is its only source
  exam->Add("host", {exam->facts().address},
            absl::StrCat(
                "vmeventd cannot see a shutdown of the host, so a VM that it ends is HOST_SIGNAL, "
                "HOST_POWERDOWN or HOST_KILL: ",
                host.problem().text(), "."),
            "systemctl status dbus systemd-logind");
}

// Libvirt's logs belong to root, systemd's journal to a group.
void DiagnoseLogs(Examination* exam) {
  if (exam->daemon() == nullptr) return;
  const NodeProcess& daemon = *exam->daemon();
  const Subject subject = {DescribeProcess(daemon)};
  // A user's own daemon follows VMs of that user, who may read their last words.
  const std::string unit = exam->DaemonUnit();
  if (unit.empty() && daemon.uid != 0 && !IsContained(daemon)) return;
  if (exam->FollowsLibvirt() && !daemon.daemon->reads_logs) {
    exam->Add("words", subject,
              absl::StrCat("It cannot read ", kLibvirtLogs,
                           ", so a crash is reported without QEMU's last words: it needs "
                           "CAP_DAC_OVERRIDE, and in a container the directory, with -v or as a "
                           "hostPath."),
              absl::StrCat("grep CapEff /proc/", daemon.pid, "/status; ls -ld /proc/", daemon.pid,
                           "/root", kLibvirtLogs));
  }
  if (daemon.daemon->reads_journal) return;
  const Step step =
      IsContained(daemon)
          ? Step{Place::kContainer, "--group-add \"$(getent group systemd-journal | cut -d: -f3)\""}
          : Step{Place::kShell, ChangeUnit(unit.empty() ? kDaemonUnit : unit, "journal.conf",
                                           "SupplementaryGroups=systemd-journal")};
  exam->Add(
      "words", subject,
      "It cannot read systemd's journal, so the crash of a QEMU in a unit is reported without "
      "its last words: it needs the group systemd-journal.",
      {step});
}

void DiagnoseReportedVms(Examination* exam) {
  for (const v1::Vm& vm : exam->facts().vms) {
    if (vm.problems().empty() || exam->explained()->contains(vm.ref().pid())) continue;
    exam->Add("problem", {vm.ref().name()},
              absl::StrCat("vmeventd reports: ", ProblemsText(vm), "."),
              absl::StrCat(exam->facts().client, " vms"));
  }
}

}  // namespace vmeventd::client
