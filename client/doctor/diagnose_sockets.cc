#include "client/doctor/diagnose_sockets.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/doctor/diagnose_libvirt.h"
#include "client/doctor/monitor_paths.h"
#include "client/output/shell_quote.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {

// Ganeti starts kvmd again and again; docs/connect.md has the same line.
const char kDisableKvmd[] =
    "sed -i '/^KVMD_ARGS=--version$/d' /etc/default/ganeti; "
    "echo KVMD_ARGS=--version >>/etc/default/ganeti; "
    "start-stop-daemon --stop --oknodo --retry 5 --name ganeti-kvmd";

namespace {

// The QEMU that listens on a socket that was bound to `path`; null: none is seen.
const NodeProcess* ListenerAt(const NodeFacts& facts, const std::string& path) {
  for (const UnixSocket& socket : facts.sockets) {
    if (!socket.listening || socket.path != path) continue;
    const auto qemu = absl::c_find_if(facts.processes, [&](const NodeProcess& one) {
      return one.qemu && HasSocket(one, socket.inode);
    });
    if (qemu != facts.processes.end()) return &*qemu;
  }
  return nullptr;
}

// The entry that gives vmeventd's user rights, as an argument of setfacl.
std::string UserEntry(const Examination& exam, const std::string& rights) {
  return absl::StrCat("u:", exam.DaemonUser(), ":", rights);
}

// Adds the finding that vmeventd's user may not open something. `line` is the setfacl command that
// grants the right, if the file's permissions are the reason.
void AddMissingRights(const Subject& subject, const std::string& what, const std::string& line,
                      Examination* exam) {
  if (exam->daemon() != nullptr && exam->daemon()->daemon->is_confined) {
    return exam->Add("rights", subject,
                     absl::StrCat(what,
                                  " Its AppArmor profile may deny that: the line shows what it "
                                  "denied. Permit more in /etc/apparmor.d/local/vmeventd."),
                     "journalctl -k --grep 'apparmor=\"DENIED\".*vmeventd' -n 20 --no-pager");
  }
  exam->Add("rights", subject, absl::StrCat(what, " The line needs the package acl."), line);
}

}  // namespace

void DiagnoseWatch(const WatchedPlace& place, Examination* exam) {
  const Subject subject = {place.spec.text()};
  if (const auto monitors = FindManagerMonitors(place.spec)) {
    if (monitors->manager->id == ManagerId::kLibvirt) {
      exam->settings()->Keep(kLibvirtSetting, kSystemLibvirt);
    } else {
      exam->settings()->Keep(kWatchSetting, "/run/qemu:*.qmp");
    }
    exam->Add("manager", subject,
              absl::StrCat("This --watch takes a monitor, ", monitors->sockets, ", that ",
                           Refusal(*monitors->manager), "."),
              {{Place::kConfiguration, ""}});
  }
  const std::string root = QuoteForShell(place.spec.root());
  if (place.hangs) {
    exam->Add(
        "hang", subject,
        "The file system of the directory does not answer: its VMs are UNREACHABLE, and new ones "
        "are not found. vmeventd follows them again once it answers.",
        "findmnt -o TARGET,SOURCE,FSTYPE");
  } else if (!place.exists) {
    const std::string what = place.target.empty()
                                 ? "The directory does not exist"
                                 : absl::StrCat("The directory is a symbolic link to ",
                                                place.target, ", which does not exist");
    exam->Add(
        "directory", subject,
        absl::StrCat(what, ". vmeventd follows its sockets once it does; check the spelling."),
        absl::StrCat("install -d -m 0755 ",
                     place.target.empty() ? root : QuoteForShell(place.target)));
  } else if (absl::c_any_of(exam->facts().info.directories(), [&](const auto& directory) {
               return directory.path() == place.spec.directory && !directory.present();
             })) {
    AddMissingRights(subject, "The directory exists, but vmeventd's user cannot read it.",
                     absl::StrCat("setfacl -m ", QuoteForShell(UserEntry(*exam, "rx")), " ", root),
                     exam);
  }
}

void DiagnoseKvmd(const NodeProcess& process, Examination* exam) {
  if (process.program != kKvmdProgram) return;
  const bool watches_ganeti = absl::c_any_of(exam->facts().watches, [](const auto& place) {
    return absl::EndsWith(place.spec.pattern, kGanetiMonitorSuffix);
  });
  if (!watches_ganeti) return;
  exam->Add("manager", {DescribeProcess(process)},
            "ganeti-kvmd and vmeventd need the same monitors, NAME.kvmd, and a monitor serves one "
            "client; docs/connect.md describes how to replace kvmd.",
            kDisableKvmd);
}

void DiagnoseUnfollowedSockets(Examination* exam) {
  for (const v1::UnfollowedSocket& socket : exam->facts().info.unfollowed_sockets()) {
    // The finding about the socket's QEMU says more.
    const v1::ProblemCode code = socket.problem().code();
    if (exam->facts().examined && code == v1::PROBLEM_CODE_MANAGERS_OWN) continue;
    if (code == v1::PROBLEM_CODE_SHARED_PATH &&
        absl::c_any_of(exam->diagnosis()->findings,
                       [](const Finding& one) { return one.kind == "shared-path"; })) {
      continue;
    }
    if (const NodeProcess* const qemu = ListenerAt(exam->facts(), socket.path());
        qemu != nullptr && code == v1::PROBLEM_CODE_REFUSED) {
      exam->Add(
          "problem", {socket.path(), absl::StrCat(qemu->pid)},
          absl::StrCat(DescribeProcess(*qemu),
                       " listens on a socket that was bound to this path, and another file has "
                       "taken its place: the monitor is out of reach until the VM's next start."),
          absl::StrCat("ps -o pid,user,lstart,args -p ", kWords));
      continue;
    }
    const Subject subject = {socket.path(), QuoteForShell(socket.path())};
    const std::string what = absl::StrCat("vmeventd reports: ", socket.problem().text(), ".");
    const std::string directory = QuoteForShell(DirectoryOf(socket.path()));
    if (code == v1::PROBLEM_CODE_PERMISSION_DENIED) {
      // A new socket gets the directory's default entry, which the umask of its QEMU may limit.
      AddMissingRights(subject,
                       absl::StrCat(what,
                                    " A socket that is made later has the rights if its QEMU "
                                    "starts with the umask 0007, in a unit by UMask=0007."),
                       absl::StrCat("setfacl -m ",
                                    QuoteForShell(absl::StrCat(UserEntry(*exam, "rx"),
                                                               ",d:", UserEntry(*exam, "rw"))),
                                    " ", directory, " && setfacl -m ",
                                    QuoteForShell(UserEntry(*exam, "rw")), " ", kWords),
                       exam);
      continue;
    }
    std::string line = absl::StrCat("ss -xlp | grep -F ", directory);
    if (code == v1::PROBLEM_CODE_REFUSED) {
      // Looks again: a QEMU may have begun to listen meanwhile.
      line = absl::StrCat("for socket in ", kWords, "; do [ \"$(grep -cF \"$socket\" ",
                          "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done");
    }
    exam->Add("problem", subject, what, line);
  }
}

}  // namespace vmeventd::client
