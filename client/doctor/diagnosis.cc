#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/text.h"
#include "client/doctor/doctor.h"
#include "client/output/terminal_text.h"
#include "watcher/core/managers.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/core/specs.h"

namespace vmeventd::client {
namespace {

constexpr char kKvmdProgram[] = "ganeti-kvmd";
// As docs/connect.md has it: Ganeti starts kvmd again and again.
constexpr char kDisableKvmd[] =
    "echo KVMD_ARGS=--version >>/etc/default/ganeti; "
    "start-stop-daemon --stop --oknodo --retry 5 --name ganeti-kvmd";
constexpr char kGanetiPattern[] = ".kvmd";
constexpr char kShowCertificate[] =
    "openssl x509 -noout -subject -issuer -dates -ext subjectAltName,extendedKeyUsage";
constexpr char kSystemLibvirt[] = "qemu:///system";
constexpr char kSessionLibvirt[] = "qemu:///session";

// With its slash.
absl::string_view DirectoryOf(absl::string_view path) {
  return path.substr(0, path.rfind('/') + 1);
}
absl::string_view FileOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// `text` with a '*' in place of the VM's name, where that is a word of its own there.
std::string WithStar(absl::string_view text, absl::string_view name) {
  const size_t at = name.empty() ? text.npos : text.find(name);
  const size_t end = at + name.size();
  const bool is_word = at != text.npos && (at == 0 || !absl::ascii_isalnum(text[at - 1])) &&
                       (end == text.size() || !absl::ascii_isalnum(text[end]));
  return is_word ? absl::StrCat(text.substr(0, at), "*", text.substr(end)) : std::string(text);
}

// The --watch that takes the one socket and its like: "/run/qemu:*.qmp" for /run/qemu/web1.qmp, and
// "/run/vms/*:qmp.sock" for /run/vms/web1/qmp.sock of the VM web1. `of_many`: another QEMU has a
// monitor of the same file name.
WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many) {
  const absl::string_view directory = path.substr(0, path.rfind('/'));
  const absl::string_view above = DirectoryOf(directory);
  const absl::string_view file = FileOf(path);
  WatchSpec spec = {absl::StrCat(above, WithStar(FileOf(directory), name)), WithStar(file, name)};
  if (spec.has_directories() || absl::StrContains(spec.pattern, '*')) return spec;
  if (of_many && !above.empty()) {
    spec.directory = absl::StrCat(above, "*");
  } else {
    spec.pattern = absl::StrCat("*", file.substr(std::min(file.rfind('.'), file.size())));
  }
  return spec;
}

// The sentence's end after a text that may be a question already.
const char* Stop(absl::string_view text) { return absl::EndsWith(text, "?") ? "" : "."; }

std::string DescribeProcess(const NodeProcess& process) {
  return absl::StrCat(process.program, " (pid ", process.pid, ")");
}

// The libvirt by which to follow VMs instead of their monitor; null: it is not a domain's.
const char* LibvirtOf(const Manager& manager) {
  if (manager.id == ManagerId::kLibvirt) return kSystemLibvirt;
  return manager.id == ManagerId::kLibvirtSession ? kSessionLibvirt : nullptr;
}

bool Has(const NodeProcess& process, uint32_t inode) {
  return absl::c_any_of(process.sockets,
                        [inode](const auto& socket) { return socket.second == inode; });
}

bool IsDaemon(const NodeProcess* process) {
  return process != nullptr && process->program == kDaemonProgram;
}

class Doctor {
 public:
  explicit Doctor(const NodeFacts& facts) : facts_(facts) {
    for (const WatchedPlace& place : facts_.watches) {
      if (!FindManagerMonitors(place.spec)) watches_.push_back(place.spec.text());
    }
    for (const v1::LibvirtConnection& connection : facts_.info.libvirt_connections()) {
      libvirts_.push_back(connection.uri());
    }
    for (const NodeProcess& process : facts_.processes) {
      if (!IsQemu(process.arguments)) continue;
      for (const QmpMonitor& monitor : ParseQemuArguments(process.arguments).monitors) {
        directories_[std::string(FileOf(monitor.path))].emplace(DirectoryOf(monitor.path));
      }
    }
  }

  Diagnosis Finish() && {
    diagnosis_ = {.asked = Asked(), .examined = facts_.examined};
    LookAtJournal();
    LookAtRights();
    LookAtSignals();
    LookAtHostShutdown();
    for (const WatchedPlace& place : facts_.watches) LookAtWatch(place);
    for (const NodeProcess& process : facts_.processes) {
      if (IsQemu(process.arguments)) LookAtQemu(process);
    }
    for (const NodeProcess& process : facts_.processes) LookAtProcess(process);
    LookAtDaemonsProblems();
    for (Finding& finding : diagnosis_.findings) {
      if (finding.place == Place::kConfiguration) finding.line = Settings();
      if (finding.place == Place::kQemu) {
        const bool is_one = !finding.vm.empty() && finding.subjects.size() == 1;
        finding.line = OwnMonitor(is_one ? finding.vm : "NAME");
      }
      finding.line = absl::StrReplaceAll(finding.line, {{kWords, finding.words}});
    }
    return std::move(diagnosis_);
  }

 private:
  // In a line for the shell: the words of all subjects. No argument of a process has a NUL.
  static constexpr absl::string_view kWords = {"\0words", 6};

  // The object of a finding.
  struct Subject {
    std::string text;
    std::string word = {};  // a pid, or a path as the shell takes it
    std::string name = {};  // the VM's
  };

  // Merges findings of the same cause, which the same sentences and line answer. Finish() makes the
  // lines for other places than the shell.
  void Add(const std::string& kind, Subject subject, const std::string& what,
           const std::string& line, Place place = Place::kShell) {
    std::vector<Finding>& findings = diagnosis_.findings;
    auto same = absl::c_find_if(findings, [&](const Finding& one) {
      return one.kind == kind && one.what == what && one.line == line;
    });
    if (same == findings.end()) {
      same = findings.insert(same, {kind, {}, what, place, line, "", subject.name});
    }
    absl::StrAppend(&same->words, same->words.empty() ? "" : " ", subject.word);
    same->subjects.push_back(std::move(subject.text));
  }

  std::string Asked() const {
    return absl::StrCat(
        "Asked vmeventd ", facts_.info.version(), " of ", facts_.info.node(), " at ",
        facts_.address, ", which has ", Count(facts_.vms.size(), "VM"),
        facts_.examined ? "" : ". Its QEMUs were not examined: run `vmevents doctor` there");
  }

  // The user of the daemon that was asked, as far as it is seen.
  std::string DaemonUser() const {
    std::string user;
    for (const NodeProcess& process : facts_.processes) {
      if (!IsDaemon(&process)) continue;
      const bool asked = absl::c_any_of(facts_.sockets, [&](const UnixSocket& socket) {
        return absl::StrCat("unix:", socket.path) == facts_.address && Has(process, socket.inode);
      });
      if (asked || user.empty()) user = process.user;
    }
    return user.empty() ? kDaemonProgram : user;
  }

  void LookAtRights() {
    if (facts_.is_root || !facts_.examined) return;
    Add("rights", {"vmevents doctor"},
        "Only root sees the sockets of other users' processes, and so who holds a monitor.",
        absl::StrCat("sudo ", facts_.client, " doctor"));
  }

  void LookAtJournal() {
    const std::string& problem = facts_.info.journal_problem();
    if (problem.empty()) return;
    const std::vector<std::string> parts = absl::StrSplit(problem, absl::MaxSplits(": ", 1));
    const std::string& path = parts.front();
    const bool damaged = absl::StartsWith(parts.back(), "damaged: ");
    Add("journal", {path},
        absl::StrCat("New events are not durable: ", parts.back(),
                     damaged ? ". A restart moves the damaged file aside and begins a new one."
                             : ". They wait in memory, and vmeventd writes them once the disk "
                               "takes them: do not stop it."),
        damaged ? "systemctl restart vmeventd"
                : absl::StrCat("findmnt -T ", QuoteForShell(DirectoryOf(path)),
                               " -o TARGET,SOURCE,OPTIONS,AVAIL,USE%"));
  }

  static constexpr char kShowCapabilities[] = "systemctl show vmeventd | grep Capabilities=";

  void LookAtSignals() {
    const std::string& problem = facts_.info.signal_senders().problem();
    // A watch that the user switched off is no finding.
    if (problem.empty() || absl::StartsWith(problem, "--")) return;
    const bool contained = absl::StrContains(problem, "PID namespace");
    const char* const line =
        contained ? "docker inspect -f '{{.Name}} {{.HostConfig.PidMode}}' $(docker ps -q)"
        : absl::StrContains(problem, "CAP_") ? kShowCapabilities
                                             : "man vmeventd";
    Add("senders", {facts_.address},
        absl::StrCat(
            "vmeventd cannot see who sends a signal, so a killed VM is a CRASH: ", problem, ".",
            contained ? " Its container needs --pid host, or hostPID: true in Kubernetes." : ""),
        line);
  }

  void LookAtHostShutdown() {
    const std::string& problem = facts_.info.host_shutdown().problem();
    if (!facts_.has_systemd || problem.empty()) return;  // systemd is its only source
    Add("host", {facts_.address},
        absl::StrCat(
            "vmeventd cannot see a shutdown of the host, so a VM that it ends is HOST_SIGNAL, "
            "HOST_POWERDOWN or HOST_KILL: ",
            problem, "."),
        "systemctl status dbus systemd-logind");
  }

  void LookAtWatch(const WatchedPlace& place) {
    const Subject subject = {place.spec.text()};
    if (const auto monitors = FindManagerMonitors(place.spec)) {
      if (const char* const libvirt = LibvirtOf(*monitors->manager)) {
        Include(libvirt, &libvirts_);
      } else {
        Include("/run/qemu:*.qmp", &watches_);
      }
      Add("manager", subject,
          absl::StrCat("This --watch takes a monitor, ", monitors->sockets, ", that ",
                       Refusal(*monitors->manager), "."),
          "", Place::kConfiguration);
    }
    const std::string root = QuoteForShell(place.spec.root());
    if (!place.exists) {
      Add("directory", subject,
          "The directory does not exist. vmeventd follows its sockets once it does; check the "
          "spelling.",
          absl::StrCat("install -d -m 0755 ", root));
    } else if (absl::c_any_of(facts_.info.directories(), [&](const auto& directory) {
                 return directory.path() == place.spec.directory && !directory.present();
               })) {
      Add("rights", subject, "The directory exists, but vmeventd's user may not read it.",
          absl::StrCat("setfacl -m u:", DaemonUser(), ":rx ", root));
    }
  }

  static void Include(const std::string& value, std::vector<std::string>* values) {
    if (!absl::c_linear_search(*values, value)) values->push_back(value);
  }

  std::string Settings() const {
    std::vector<std::string> lines;
    for (const auto& [name, values] :
         {std::pair("watch", &watches_), std::pair("libvirt", &libvirts_)}) {
      if (values->empty()) continue;
      lines.push_back(absl::StrCat(name, " = [\"", absl::StrJoin(*values, "\", \""), "\"]"));
    }
    return absl::StrJoin(lines, "\n");
  }

  bool FollowsLibvirt() const { return !facts_.info.libvirt_connections().empty(); }

  // The arguments of QEMU for a monitor of vmeventd's own.
  std::string OwnMonitor(const std::string& name) const {
    WatchSpec spec = {"/run/qemu", "*.qmp"};
    for (const WatchedPlace& place : facts_.watches) {
      if (FindManagerMonitors(place.spec) || absl::EndsWith(place.spec.pattern, kGanetiPattern))
        continue;
      spec = place.spec;
      break;
    }
    const std::string path =
        absl::StrReplaceAll(absl::StrCat(spec.directory, "/", spec.pattern), {{"*", name}});
    return absl::StrCat("-chardev ",
                        QuoteForShell(absl::StrCat(
                            "socket,id=events,path=", absl::StrReplaceAll(path, {{",", ",,"}}),
                            ",server=on,wait=off")),
                        " -mon chardev=events,mode=control");
  }

  // A monitor of a QEMU.
  struct Monitor {
    std::string path;
    const UnixSocket* listener = nullptr;
    bool held = false;                    // it has a client
    const NodeProcess* client = nullptr;  // null: none, or one that cannot be seen
  };

  // `vm`: as vmeventd has the QEMU, whose monitor it may find at another path than QEMU was given:
  // a relative one, or one in a container. Null: not at all.
  std::vector<Monitor> MonitorsOf(const NodeProcess& qemu, const QemuArguments& arguments,
                                  const v1::Vm* vm) const {
    std::vector<Monitor> monitors;
    for (const QmpMonitor& given : arguments.monitors) {
      Monitor monitor = {given.path};
      const auto inherited = qemu.sockets.find(given.descriptor);
      for (const UnixSocket& socket : facts_.sockets) {
        if (inherited != qemu.sockets.end() && inherited->second == socket.inode) {
          monitor.path = socket.path;
        }
      }
      if (monitor.path.empty()) continue;
      for (const UnixSocket& socket : facts_.sockets) {
        if (socket.path != monitor.path) continue;
        // Another QEMU may have had one there.
        if (qemu.sees_descriptors && !Has(qemu, socket.inode)) continue;
        if (socket.listening) {
          monitor.listener = &socket;
        } else if (socket.peer != 0) {
          monitor.held = true;
          const auto client = absl::c_find_if(
              facts_.processes, [&](const NodeProcess& one) { return Has(one, socket.peer); });
          if (client != facts_.processes.end()) monitor.client = &*client;
        }
      }
      if (vm != nullptr && FileOf(vm->monitor_path()) == FileOf(monitor.path)) {
        monitor.path = vm->monitor_path();
      }
      monitors.push_back(std::move(monitor));
    }
    return monitors;
  }

  bool IsWatched(const Monitor& monitor) const {
    return absl::c_any_of(facts_.watches, [&](const WatchedPlace& place) {
      return place.spec.VmName(monitor.path).has_value();
    });
  }

  // Adds at most one finding: the first is the reason of the others.
  void LookAtQemu(const NodeProcess& qemu) {
    ++diagnosis_.qemus;
    const QemuArguments arguments = ParseQemuArguments(qemu.arguments);
    const Subject subject = {arguments.name.empty()
                                 ? absl::StrCat("pid ", qemu.pid)
                                 : absl::StrCat(arguments.name, " (pid ", qemu.pid, ")"),
                             absl::StrCat(qemu.pid), arguments.name};
    explained_.insert(qemu.pid);
    const auto followed =
        absl::c_find_if(facts_.vms, [&](const v1::Vm& one) { return one.ref().pid() == qemu.pid; });
    const v1::Vm* const vm = followed == facts_.vms.end() ? nullptr : &*followed;
    const bool is_well = vm != nullptr && vm->problems().empty();
    if (is_well) ++diagnosis_.followed;
    if (qemu.stopped()) {
      return Add("hung-monitor", subject,
                 "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
                 absl::StrCat("kill -CONT ", kWords));
    }
    if (is_well) return;
    if (!facts_.network_namespace.empty() && !qemu.network_namespace.empty() &&
        qemu.network_namespace != facts_.network_namespace) {
      return Add(
          "namespace", subject,
          "This QEMU is in another network namespace, whose sockets cannot be seen from here.",
          absl::StrCat("for pid in ", kWords, "; do nsenter -t $pid -n ", facts_.client,
                       " doctor; done"));
    }
    const std::vector<Monitor> monitors = MonitorsOf(qemu, arguments, vm);
    if (monitors.empty() && vm == nullptr) {
      return Add(
          "no-monitor", subject,
          "This QEMU has no QMP socket, so vmeventd cannot follow it. Give it one at its next "
          "start.",
          "", Place::kQemu);
    }
    for (const Monitor& monitor : monitors) {
      if (vm != nullptr || !monitor.held) continue;
      if (IsDaemon(monitor.client)) return void(++diagnosis_.followed_elsewhere);
      // Perhaps by a vmeventd: LookAtRights() has the finding.
      if (monitor.client == nullptr && !facts_.is_root) return;
    }
    Finding obstacle;
    bool is_free = false;
    for (const Monitor& monitor : monitors) {
      if (is_free || !IsWatched(monitor)) continue;
      obstacle = ObstacleAt(monitor, vm);
      is_free = obstacle.kind.empty();
    }
    if (!obstacle.kind.empty()) {
      Add(obstacle.kind, {absl::StrCat(subject.text, " ", obstacle.subjects[0]), subject.word},
          obstacle.what, obstacle.line);
    } else if (vm != nullptr) {
      ++diagnosis_.followed;
      explained_.erase(qemu.pid);  // by LookAtDaemonsProblems()
    } else if (is_free) {
      ++diagnosis_.usable;
    } else {
      AddUnwatched(subject, monitors);
    }
  }

  // The obstacle between vmeventd and the monitor, whose path is the subject; none without a kind.
  // `vm`: vmeventd's own record of the QEMU, which has problems; null: it has none.
  Finding ObstacleAt(const Monitor& monitor, const v1::Vm* vm) const {
    const NodeProcess* const client = monitor.client;
    const std::string directory = QuoteForShell(DirectoryOf(monitor.path));
    // One that only root sees may be vmeventd, which has the VM.
    const bool is_own = IsDaemon(client) || (vm != nullptr && client == nullptr && !facts_.is_root);
    const auto found = [&monitor](const char* kind, const std::string& what,
                                  const std::string& line) {
      return Finding{kind, {monitor.path}, what, Place::kShell, line};
    };
    if (monitor.held && !is_own) {
      const std::string what = absl::StrCat(
          "The monitor is held by ",
          client == nullptr ? "a process that cannot be seen from here" : DescribeProcess(*client),
          ". A monitor serves one client, and vmeventd waits until that one disconnects.");
      if (client == nullptr) {
        return found("held-monitor", what, absl::StrCat("ss -xp | grep -F ", directory));
      }
      if (client->program == kKvmdProgram) return found("held-monitor", what, kDisableKvmd);
      return found("held-monitor",
                   absl::StrCat(what,
                                " Stop it if it is not needed; otherwise give it or vmeventd "
                                "another monitor (docs/connect.md)."),
                   absl::StrCat("ps -o pid,user,lstart,args -p ", client->pid));
    }
    if (monitor.listener == nullptr) {
      return found("no-monitor",
                   "Nothing listens on the monitor socket of this QEMU's command line.",
                   absl::StrCat("ls -l ", directory));
    }
    if (vm == nullptr || monitor.held || !monitor.listener->waited_at) return {};
    return found("hung-monitor",
                 "This QEMU hangs: it does not accept the client that waits at its monitor. The "
                 "line shows what its threads do.",
                 absl::StrCat("ps -L -o tid,stat,wchan:30,comm -p ", kWords));
  }

  // Reports monitors of which no --watch takes one.
  void AddUnwatched(const Subject& subject, const std::vector<Monitor>& monitors) {
    const char* const what = "No --watch takes a monitor of this QEMU";
    for (const Monitor& monitor : monitors) {
      const absl::string_view path = monitor.path;
      const auto same_name = directories_.find(std::string(FileOf(path)));
      const WatchSpec spec = SpecOfSocket(
          path, subject.name, same_name != directories_.end() && same_name->second.size() > 1);
      const auto manager = FindManagerMonitors(spec);
      if (manager && LibvirtOf(*manager->manager) != nullptr) {
        const char* const libvirt = LibvirtOf(*manager->manager);
        // Another finding reports a libvirt that is not reached.
        if (libvirt == kSystemLibvirt && FollowsLibvirt()) return void(++diagnosis_.usable);
        Include(libvirt, &libvirts_);
        return Add("unwatched", subject,
                   absl::StrCat(what, ". It is a domain of libvirt: follow libvirt."), "",
                   Place::kConfiguration);
      }
      // A client uses it.
      if (manager || !absl::StartsWith(path, "/") || monitor.held) continue;
      if (!spec.VmName(path).has_value()) {
        return Add("unwatched", subject,
                   absl::StrCat("No --watch can take the monitor ", path,
                                ": its file name has nothing before ", spec.pattern.substr(1),
                                ", where the VM's name belongs. Give QEMU one with a name at its "
                                "next start."),
                   "", Place::kQemu);
      }
      Include(spec.text(), &watches_);
      return Add("unwatched", subject, absl::StrCat(what, "."), "", Place::kConfiguration);
    }
    Add("unwatched", subject,
        absl::StrCat(what,
                     ", and other programs need those that it has: give QEMU one more at its "
                     "next start."),
        "", Place::kQemu);
  }

  void LookAtProcess(const NodeProcess& process) {
    if (process.program == kKvmdProgram) {
      const bool watches_ganeti = absl::c_any_of(facts_.watches, [](const auto& place) {
        return absl::EndsWith(place.spec.pattern, kGanetiPattern);
      });
      if (!watches_ganeti) return;
      return Add(
          "manager", {DescribeProcess(process)},
          "ganeti-kvmd and vmeventd need the same monitors, NAME.kvmd, and a monitor serves one "
          "client; docs/connect.md describes how to replace kvmd.",
          kDisableKvmd);
    }
    if (process.program == kDaemonProgram) LookAtLogs(process);
  }

  // Libvirt's logs belong to root, systemd's journal to a group.
  void LookAtLogs(const NodeProcess& daemon) {
    const Subject subject = {DescribeProcess(daemon)};
    if (FollowsLibvirt() && !daemon.reads_logs) {
      Add("words", subject,
          absl::StrCat("It cannot read ", kLibvirtLogs,
                       ", so a crash is reported without QEMU's last words: it needs "
                       "CAP_DAC_OVERRIDE, and in a container the directory, with -v or as a "
                       "hostPath."),
          absl::StrCat("grep CapEff /proc/", daemon.pid, "/status; ls -ld /proc/", daemon.pid,
                       "/root", kLibvirtLogs));
    }
    if (daemon.reads_journal) return;
    Add("words", subject,
        "It may not read systemd's journal, so the crash of a QEMU in a unit is reported without "
        "its last words: it needs the group systemd-journal.",
        "install -d /etc/systemd/system/vmeventd.service.d && printf "
        "'[Service]\\nSupplementaryGroups=systemd-journal\\n' "
        ">/etc/systemd/system/vmeventd.service.d/journal.conf && systemctl daemon-reload && "
        "systemctl restart vmeventd");
  }

  // Problems from the daemon that no finding above explains.
  void LookAtDaemonsProblems() {
    const auto text = [](std::string* out, const v1::Problem& problem) { *out += problem.text(); };
    for (const v1::Vm& vm : facts_.vms) {
      if (vm.problems().empty() || explained_.contains(vm.ref().pid())) continue;
      Add("problem", {vm.ref().name()},
          absl::StrCat("vmeventd reports: ", absl::StrJoin(vm.problems(), "; ", text), "."),
          absl::StrCat(facts_.client, " vms"));
    }
    for (const v1::UnfollowedSocket& socket : facts_.info.unfollowed_sockets()) {
      const bool forbidden = absl::StrContains(socket.problem().text(), "Permission denied");
      const std::string directory = QuoteForShell(DirectoryOf(socket.path()));
      const std::string user = DaemonUser();
      std::string line = absl::StrCat("ss -xlp | grep -F ", directory);
      if (forbidden) {
        line = absl::StrCat("setfacl -m u:", user, ":rx,d:u:", user, ":rw ", directory,
                            " && setfacl -m u:", user, ":rw ", directory, "*");
      } else if (socket.problem().code() == v1::PROBLEM_CODE_REFUSED) {
        // Looks again: a QEMU may have begun to listen meanwhile.
        line = absl::StrCat("for socket in ", kWords, "; do [ \"$(grep -cF \"$socket\" ",
                            "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done");
      }
      Add(forbidden ? "rights" : "problem", {socket.path(), QuoteForShell(socket.path())},
          absl::StrCat("vmeventd reports: ", socket.problem().text(), "."), line);
    }
    for (const v1::LibvirtConnection& connection : facts_.info.libvirt_connections()) {
      if (connection.connected()) continue;
      Add("libvirt", {connection.uri()},
          absl::StrCat("vmeventd is not connected to this libvirt: ", connection.problem().text(),
                       Stop(connection.problem().text())),
          absl::StrCat("virsh -c ", QuoteForShell(connection.uri()), " list"));
    }
  }

  const NodeFacts& facts_;
  // Directories of QEMUs' monitors, by the sockets' file names.
  std::map<std::string, std::set<std::string>> directories_;
  Diagnosis diagnosis_;
  std::set<int64_t> explained_;  // the QEMUs that a finding explains, by pid
  // The settings for what is followed and what the findings add: a setting replaces all that
  // vmeventd follows by itself where there is none, and all values that the file has for it.
  std::vector<std::string> watches_;
  std::vector<std::string> libvirts_;
};

}  // namespace

Diagnosis Diagnose(const NodeFacts& facts) { return Doctor(facts).Finish(); }

Diagnosis DiagnoseSilence(const ServerAddress& server, const std::string& why,
                          const ProbeResult& probe, const std::string& client) {
  const std::string address = ToText(server);
  const bool forbidden = probe.error == EACCES;
  std::string what = absl::StrCat(
      forbidden ? "No permission to query vmeventd: " : "vmeventd does not answer: ", why,
      Stop(why));
  std::string line;
  if (forbidden && !probe.group.empty()) {
    absl::StrAppend(&what, " Members of the group ", probe.group,
                    " have it from their next login on.");
    line = absl::StrCat("sudo usermod -aG ", QuoteForShell(probe.group), " \"$USER\"");
  } else if (forbidden) {
    line = absl::StrCat("sudo ", client, " doctor");
  } else if (server.path == kSystemSocket) {
    line = "systemctl enable --now vmeventd && systemctl status vmeventd";
  } else if (server.is_unix()) {
    // Who listens there, and where vmeventd does.
    line = absl::StrCat("ss -xlp | grep -F -e ", QuoteForShell(server.path), " -e vmeventd");
  } else if (server.tls && probe.error == 0) {
    // Its certificate, and the client's.
    line = absl::StrCat("openssl s_client -connect ", QuoteForShell(address), " -CAfile ",
                        QuoteForShell(server.tls->ca_file), " </dev/null | ", kShowCertificate);
    if (!server.tls->cert_file.empty()) {
      absl::StrAppend(&line, "; ", kShowCertificate, " -in ", QuoteForShell(server.tls->cert_file));
    }
  } else {
    line = absl::StrCat(
        IsLoopback(server.host) ? "" : absl::StrCat("ssh ", QuoteForShell(server.host), " "),
        probe.error == 0 ? absl::StrCat("ss -tlnp | grep -F :", server.port)
                         : "systemctl status vmeventd");
  }
  return {.asked = absl::StrCat("Asked ", address, ", without an answer: no QEMU was examined"),
          .findings = {{"daemon", {address}, what, Place::kShell, line}}};
}

}  // namespace vmeventd::client
