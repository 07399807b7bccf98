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
#include "client/doctor/advice.h"
#include "client/doctor/doctor.h"
#include "client/output/event_text.h"
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
constexpr char kDaemonUnit[] = "vmeventd.service";

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

bool IsLibvirt(const Manager& manager) {
  return manager.id == ManagerId::kLibvirt || manager.id == ManagerId::kLibvirtSession;
}

// Returns whether a socket is made for programs that follow the VM, judged by its name.
bool IsForFollowers(absl::string_view path) {
  return absl::EndsWith(path, ".qmp") || absl::EndsWith(path, ".kvmd") ||
         FileOf(path) == "extra-monitor.sock";
}

// A string of the configuration, which is TOML.
std::string QuoteForToml(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

// Programs that run containers, as the cgroups of these name them.
constexpr absl::string_view kContainers[] = {"docker",     "libpod", "kubepods",
                                             "containerd", "crio",   "lxc.payload"};

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
    for (const NodeProcess& process : facts_.processes) {
      if (process.pid == facts_.daemon_pid) daemon_ = &process;
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
    if (!facts_.info.waits_for().empty()) {
      Add("start", {facts_.address},
          absl::StrCat("vmeventd starts and waits for ", facts_.info.waits_for(),
                       ": no VM is followed until it answers."),
          "dmesg | tail");
      for (Finding& finding : diagnosis_.findings) Complete(&finding);
      return std::move(diagnosis_);
    }
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
    for (Finding& finding : diagnosis_.findings) Complete(&finding);
    for (Finding& hint : diagnosis_.hints) Complete(&hint);
    return std::move(diagnosis_);
  }

 private:
  static constexpr char kPanicDevice[] = "panic-device";
  // In a line for the shell: the words of all subjects. No argument of a process has a NUL.
  static constexpr absl::string_view kWords = {"\0words", 6};

  // The object of a finding.
  struct Subject {
    std::string text;
    std::string word = {};  // a pid, or a path as the shell takes it
    std::string name = {};  // the VM's
  };

  // Merges findings of the same cause, which the same sentences and steps answer. Complete() makes
  // their lines.
  void Add(const std::string& kind, Subject subject, const std::string& what,
           std::vector<Step> steps) {
    AddTo(&diagnosis_.findings, kind, std::move(subject), what, std::move(steps));
  }
  static void AddTo(std::vector<Finding>* list, const std::string& kind, Subject subject,
                    const std::string& what, std::vector<Step> steps) {
    std::vector<Finding>& findings = *list;
    auto same = absl::c_find_if(findings, [&](const Finding& one) {
      return one.kind == kind && one.what == what && one.steps == steps;
    });
    if (same == findings.end()) same = findings.insert(same, {kind, {}, what, std::move(steps)});
    absl::StrAppend(&same->words, same->words.empty() ? "" : " ", subject.word);
    same->vms.push_back(std::move(subject.name));
    same->subjects.push_back(std::move(subject.text));
  }
  void Add(const std::string& kind, Subject subject, const std::string& what,
           const std::string& line) {
    Add(kind, std::move(subject), what, {{Place::kShell, line}});
  }

  // Puts the names, the pids and the settings into the lines. Lines of a shell for each of several
  // VMs become one that repeats them.
  void Complete(Finding* finding) const {
    const bool is_one = finding->vms.size() == 1 && !finding->vms[0].empty();
    const std::string vm = is_one ? finding->vms[0] : "NAME";
    std::vector<std::string> repeated;
    std::vector<Step> steps;
    for (Step& step : finding->steps) {
      if (step.place == Place::kConfiguration) step.line = Settings();
      if (!is_one && step.place == Place::kShell && absl::StrContains(step.line, kVm)) {
        repeated.push_back(absl::StrReplaceAll(step.line, {{kVm, "$vm"}}));
        continue;
      }
      if (!repeated.empty()) steps.push_back(Repeat(*finding, &repeated));
      step.line = absl::StrReplaceAll(step.line, {{kVm, vm}, {kWords, finding->words}});
      if (step.place == Place::kQemu && finding->kind != kPanicDevice) {
        step.line = MonitorArguments(step.line);
      }
      steps.push_back(std::move(step));
    }
    if (!repeated.empty()) steps.push_back(Repeat(*finding, &repeated));
    finding->steps = std::move(steps);
  }
  static Step Repeat(const Finding& finding, std::vector<std::string>* lines) {
    std::string line = "for vm in";
    for (const std::string& vm : finding.vms) absl::StrAppend(&line, " ", QuoteForShell(vm));
    absl::StrAppend(&line, "; do ", absl::StrJoin(*lines, " && "), "; done");
    lines->clear();
    return {Place::kShell, line};
  }

  std::string Asked() const {
    return absl::StrCat(
        "Asked vmeventd ", facts_.info.version(), " of ", facts_.info.node(), " at ",
        facts_.address, ", which has ", Count(facts_.vms.size(), "VM"),
        facts_.examined ? "" : ". Its QEMUs were not examined: run `vmevents doctor` there");
  }

  // The user of the daemon that was asked, as far as it is seen.
  std::string DaemonUser() const { return daemon_ == nullptr ? kDaemonProgram : daemon_->user; }

  // Its systemd unit, if it is the system's; empty: it is none.
  std::string DaemonUnit() const {
    if (daemon_ == nullptr || absl::StrContains(daemon_->cgroups, "/user.slice/")) return "";
    const std::string unit = UnitOf(daemon_->cgroups);
    return absl::EndsWith(unit, ".service") && !IsContained(*daemon_) ? unit : "";
  }

  // The line that changes its unit.
  static std::string ChangeUnit(const std::string& unit, absl::string_view file,
                                absl::string_view setting) {
    const std::string directory = absl::StrCat("/etc/systemd/system/", unit, ".d");
    return absl::StrCat("install -d ", directory, " && printf '[Service]\\n", setting, "\\n' >",
                        directory, "/", file, " && systemctl daemon-reload && systemctl restart ",
                        unit);
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

  void LookAtSignals() {
    const std::string& problem = facts_.info.signal_senders().problem();
    // A watch that the user switched off is no finding.
    if (problem.empty() || absl::StartsWith(problem, "--")) return;
    const auto is = [&](absl::string_view cause) { return absl::StrContains(problem, cause); };
    const bool is_contained = daemon_ != nullptr && IsContained(*daemon_);
    const std::string unit = DaemonUnit();
    const char* needs = "";
    Step step = {Place::kShell, "man vmeventd"};
    if (is("PID namespace")) {
      step = {Place::kContainer, "--pid host"};
      needs = " Its container needs an option, in Kubernetes hostPID: true.";
    } else if (is("user namespace")) {
      needs = " The kernel shows them only to a vmeventd that root runs outside of one.";
      step.line = "cat /proc/self/uid_map";
    } else if (is_contained && (is("CAP_") || is("seccomp") || is("BTF"))) {
      needs = " Its container needs an option, in Kubernetes the same of its manifest.";
      step = {Place::kContainer, is("CAP_")      ? "--cap-add BPF --cap-add PERFMON"
                                 : is("seccomp") ? kSeccompOption
                                                 : "-v /sys/kernel/btf:/sys/kernel/btf:ro"};
    } else if (is("CAP_") && !unit.empty()) {
      needs = " The lines give them to its unit.";
      step.line = ChangeUnit(unit, "senders-capabilities.conf",
                             "AmbientCapabilities=CAP_BPF CAP_PERFMON\\n"
                             "CapabilityBoundingSet=CAP_BPF CAP_PERFMON");
    } else if (is("CAP_")) {
      needs = " A service of the system, or root, can have them.";
      step.line = "systemctl enable --now vmeventd";
    } else if (is("seccomp") && !unit.empty()) {
      needs = " The line permits bpf to its unit.";
      step.line = ChangeUnit(unit, "senders-seccomp.conf", "SystemCallFilter=bpf");
    } else if (is("BTF")) {
      needs = " Boot a kernel that has them, as those of the distributions do.";
      step.line = "grep CONFIG_DEBUG_INFO_BTF= /boot/config-$(uname -r)";
    } else if (is("locked down for")) {
      needs = " Boot without lockdown=confidentiality: integrity permits it.";
      step.line = "cat /sys/kernel/security/lockdown; uname -r";
    }
    Add("senders", {facts_.address},
        absl::StrCat("vmeventd cannot see who sends a signal, so a VM that is killed is UNKNOWN: ",
                     problem, ".", needs),
        {step});
  }

  // Debian 12's podman and docker.io forbid bpf(2) without CAP_SYS_ADMIN.
  static constexpr char kSeccompOption[] = "--security-opt seccomp=deploy/container/seccomp.json";

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
      if (monitors->manager->id == ManagerId::kLibvirt) {
        Include(kSystemLibvirt, &libvirts_);
      } else {
        Include("/run/qemu:*.qmp", &watches_);
      }
      Add("manager", subject,
          absl::StrCat("This --watch takes a monitor, ", monitors->sockets, ", that ",
                       Refusal(*monitors->manager), "."),
          {{Place::kConfiguration, ""}});
    }
    const std::string root = QuoteForShell(place.spec.root());
    if (place.hangs) {
      Add("hang", subject,
          "The file system of the directory does not answer: its VMs are UNREACHABLE, and new ones "
          "are not found. vmeventd follows them again once it answers.",
          "findmnt -o TARGET,SOURCE,FSTYPE");
    } else if (!place.exists) {
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
    std::vector<std::string> watches = watches_;
    std::vector<std::string> libvirts = libvirts_;
    for (const std::string& watch : new_watches_) Include(watch, &watches);
    for (const std::string& libvirt : new_libvirts_) Include(libvirt, &libvirts);
    for (const auto& [name, values] :
         {std::pair("watch", &watches), std::pair("libvirt", &libvirts)}) {
      if (values->empty()) continue;
      const auto quote = [](std::string* out, const std::string& value) {
        *out += QuoteForToml(value);
      };
      lines.push_back(absl::StrCat(name, " = [", absl::StrJoin(*values, ", ", quote), "]"));
    }
    return absl::StrJoin(lines, "\n");
  }

  bool FollowsLibvirt() const { return !facts_.info.libvirt_connections().empty(); }

  // Returns whether a QEMU of this user can make a socket there.
  static bool MayBind(const NodeProcess& qemu, const WatchedPlace& place) {
    return qemu.uid == 0 || place.owner == qemu.uid || place.open_to_all;
  }

  // The directory for sockets that vmeventd follows, of the QEMU's user. Incus, LXD and Proxmox VE
  // have QEMU bind its sockets as root.
  OwnPlace PlaceFor(const NodeProcess& qemu, const Manager* manager) const {
    const bool binds_as_root =
        manager != nullptr && (manager->id == ManagerId::kIncus || manager->id == ManagerId::kLxd ||
                               manager->id == ManagerId::kProxmox);
    for (const WatchedPlace& place : facts_.watches) {
      const bool is_ganetis = absl::EndsWith(place.spec.pattern, kGanetiPattern);
      if (FindManagerMonitors(place.spec) || is_ganetis || place.spec.has_directories()) continue;
      if (place.exists && (binds_as_root || MayBind(qemu, place))) return {place.spec, true, true};
    }
    OwnPlace own = {{"/run/qemu", "*.qmp"}};
    // Their QEMUs run as nobody, which removes the sockets.
    if (binds_as_root && manager->id != ManagerId::kProxmox) own.owner = "nobody";
    if (daemon_ != nullptr && daemon_->uid != 0 && daemon_->uid == qemu.uid) {
      own.spec.directory = absl::StrCat("/run/user/", qemu.uid, "/qemu");
    } else if (!binds_as_root && qemu.uid != 0) {
      own.spec.directory = absl::StrCat("/run/qemu-", qemu.user);
      own.owner = qemu.user;
    }
    own.is_watched = absl::c_any_of(facts_.watches, [&own](const WatchedPlace& place) {
      return place.spec.text() == own.spec.text();
    });
    return own;
  }

  // A monitor of a QEMU.
  struct Monitor {
    std::string path;                // where vmeventd finds it; else as QEMU has it
    bool is_seen = true;             // vmeventd finds it
    bool is_lost = false;            // its file is gone, or another socket's
    const Manager* owner = nullptr;  // who needs it
    const UnixSocket* listener = nullptr;
    bool held = false;                    // it has a client
    const NodeProcess* client = nullptr;  // null: none, or one that cannot be seen
  };

  // The monitors of a QEMU's command line, and the sockets that it listens on and that are called
  // as those for followers: -readconfig may name them.
  std::vector<QmpMonitor> GivenMonitors(const NodeProcess& qemu,
                                        const QemuArguments& arguments) const {
    std::vector<QmpMonitor> given = arguments.monitors;
    for (QmpMonitor& monitor : given) {
      const auto inherited = qemu.sockets.find(monitor.descriptor);
      for (const UnixSocket& socket : facts_.sockets) {
        if (inherited != qemu.sockets.end() && inherited->second == socket.inode) {
          monitor.path = socket.path;
        }
      }
    }
    for (const UnixSocket& socket : facts_.sockets) {
      if (!socket.listening || !IsForFollowers(socket.path) || !Has(qemu, socket.inode)) continue;
      if (absl::c_none_of(given, [&](const QmpMonitor& one) { return one.path == socket.path; })) {
        given.push_back({.path = socket.path});
      }
    }
    return given;
  }

  // `vm`: as vmeventd has the QEMU, whose monitor it may find at another path than QEMU was given:
  // a relative one, or one in a container. Null: not at all.
  std::vector<Monitor> MonitorsOf(const NodeProcess& qemu, const QemuArguments& arguments,
                                  const Manager* manager, const v1::Vm* vm) const {
    std::vector<Monitor> monitors;
    const std::vector<QmpMonitor> all = GivenMonitors(qemu, arguments);
    for (size_t i = 0; i < all.size(); ++i) {
      Monitor monitor = {all[i].path};
      if (monitor.path.empty()) continue;
      monitor.owner = OwnerOf(manager, all, i);
      monitor.is_lost = qemu.lost_paths.contains(monitor.path);
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
      } else if (const auto found = qemu.paths.find(monitor.path); found != qemu.paths.end()) {
        monitor.is_seen = found->second.has_value();
        monitor.path = found->second.value_or(monitor.path);
      }
      if (monitor.owner == nullptr) monitor.owner = OwnerOfPath(monitor.path);
      monitors.push_back(std::move(monitor));
    }
    return monitors;
  }

  bool IsWatched(const Monitor& monitor) const {
    if (!monitor.is_seen || monitor.is_lost || monitor.owner != nullptr) return false;
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
    if (arguments.no_panic_device) HintAtPanicDevice(subject, qemu, vm);
    const bool is_well = vm != nullptr && vm->problems().empty();
    if (is_well) ++diagnosis_.followed;
    if (qemu.stopped()) {
      return Add("hung-monitor", subject,
                 "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
                 absl::StrCat("kill -CONT ", kWords));
    }
    if (!qemu.frozen_by.empty()) {
      return Add("hung-monitor", subject,
                 absl::StrCat("This QEMU is frozen with its cgroup, ", qemu.frozen_by,
                              ", so its monitor does not answer: docker pause and systemctl freeze "
                              "do that."),
                 ThawLine(qemu));
    }
    if (qemu.dumps_core) {
      return Add(
          "hung-monitor", subject,
          "This QEMU has crashed, and the kernel writes its core: it ends once that is done.",
          absl::StrCat("grep CoreDumping /proc/", qemu.pid, "/status"));
    }
    if (is_well) return;
    if (!qemu.sees_network) {
      return Add(
          "namespace", subject,
          "The sockets of this QEMU cannot be seen from here. Paste the line on the host, as "
          "root and outside of any container.",
          absl::StrCat(facts_.client, " doctor"));
    }
    const Manager* const manager = ManagerOf(qemu.arguments, qemu.cgroups);
    if (vm != nullptr && SharesPath(*vm)) {
      ++diagnosis_.followed;
      return AddSharedPath(subject, VmNameOf(vm->monitor_path()), vm->monitor_path(),
                           ProblemsText(*vm), qemu, manager);
    }
    if (const v1::UnfollowedSocket* const hidden = vm == nullptr ? HiddenAs(arguments) : nullptr) {
      return AddSharedPath(subject, VmNameOf(hidden->path()), hidden->path(),
                           hidden->problem().text(), qemu, manager);
    }
    const std::vector<Monitor> monitors = MonitorsOf(qemu, arguments, manager, vm);
    if (monitors.empty() && vm == nullptr) {
      if (manager != nullptr && IsLibvirt(*manager)) return FollowLibvirt(subject, qemu, *manager);
      return AddOwnMonitor("no-monitor", subject,
                           "This QEMU has no QMP socket, so vmeventd cannot follow it.", qemu,
                           manager);
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
          obstacle.what, obstacle.steps);
    } else if (vm != nullptr) {
      ++diagnosis_.followed;
      explained_.erase(qemu.pid);  // by LookAtDaemonsProblems()
    } else if (is_free) {
      ++diagnosis_.usable;
    } else {
      AddUnwatched(subject, qemu, manager, monitors);
    }
  }

  void HintAtPanicDevice(Subject subject, const NodeProcess& qemu, const v1::Vm* vm) {
    // The machine microvm has no bus for one.
    if (absl::c_any_of(qemu.arguments, [](const std::string& argument) {
          return absl::StrContains(argument, "microvm");
        })) {
      return;
    }
    const bool is_of_nova = vm != nullptr && vm->ref().labels().contains("nova.name");
    MonitorAdvice advice =
        AdvisePanicDevice(ManagerOf(qemu.arguments, qemu.cgroups), qemu, is_of_nova);
    if (!advice.vm.empty()) subject.name = advice.vm;
    AddTo(&diagnosis_.hints, kPanicDevice, std::move(subject),
          absl::StrCat("Without a panic device a panic of the guest is no CRASH: it looks like a "
                       "reboot or a hang. ",
                       advice.what),
          std::move(advice.steps));
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
      return Finding{kind, {monitor.path}, what, {{Place::kShell, line}}};
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

  static std::string ThawLine(const NodeProcess& qemu) {
    const std::string frozen = qemu.frozen_by;
    const std::string unit(FileOf(frozen));
    // docker-ID.scope, libpod-ID.scope/container or docker/ID
    constexpr std::pair<absl::string_view, absl::string_view> kEngines[] = {{"docker", "docker"},
                                                                            {"podman", "libpod"}};
    for (const auto& [program, in_cgroup] : kEngines) {
      const size_t at = frozen.rfind(std::string(in_cgroup));
      if (at == frozen.npos) continue;
      const std::string id = frozen.substr(at + in_cgroup.size() + 1);
      return absl::StrCat(program, " unpause ", id.substr(0, id.find_first_of("./")));
    }
    const bool is_unit = absl::EndsWith(unit, ".service") || absl::EndsWith(unit, ".scope");
    if (absl::StrContains(frozen, "/cgroup/freezer/")) {
      return absl::StrCat("echo THAWED >", QuoteForShell(frozen + "/freezer.state"));
    }
    if (is_unit) return absl::StrCat("systemctl thaw ", QuoteForShell(unit));
    return absl::StrCat("echo 0 >", QuoteForShell(frozen + "/cgroup.freeze"));
  }

  // The libvirt of a domain: another user's is reached by its socket.
  std::string LibvirtUri(const NodeProcess& qemu, const Manager& manager) const {
    if (manager.id == ManagerId::kLibvirt) return kSystemLibvirt;
    if (daemon_ != nullptr && daemon_->uid == qemu.uid) return kSessionLibvirt;
    return absl::StrCat("qemu+unix:///session?socket=/run/user/", qemu.uid,
                        "/libvirt/libvirt-sock");
  }

  void FollowLibvirt(const Subject& subject, const NodeProcess& qemu, const Manager& manager) {
    const std::string uri = LibvirtUri(qemu, manager);
    // Another finding reports a libvirt that is not reached.
    if (absl::c_linear_search(libvirts_, uri) || (uri == kSystemLibvirt && FollowsLibvirt())) {
      return void(++diagnosis_.usable);
    }
    new_libvirts_.insert(uri);
    const bool is_nova = absl::c_any_of(qemu.arguments, [](const std::string& argument) {
      return absl::StrContains(argument, "manufacturer=OpenStack");
    });
    std::vector<Step> steps = {{Place::kConfiguration, ""}};
    const std::string unit = DaemonUnit();
    if (manager.id == ManagerId::kLibvirtSession && qemu.uid != 0 && unit == kDaemonUnit) {
      steps.push_back({Place::kShell, ChangeUnit(unit, "home.conf", "ProtectHome=read-only")});
    }
    Add("unwatched", subject,
        absl::StrCat("It is a domain of libvirt", is_nova ? ", an instance of nova" : "",
                     manager.id == ManagerId::kLibvirtSession ? " of the user " + qemu.user : "",
                     ": follow libvirt."),
        std::move(steps));
  }

  // Reports that a QEMU needs a monitor for vmeventd, and how it gets one. `shared`: the path that
  // its monitor has, and must not have.
  void AddOwnMonitor(const char* kind, Subject subject, const std::string& what,
                     const NodeProcess& qemu, const Manager* manager,
                     const std::string& shared = "") {
    const OwnPlace place = PlaceFor(qemu, manager);
    MonitorAdvice advice = AdviseMonitor(manager, qemu, place, shared);
    std::vector<Step> steps;
    if (advice.needs_place && !place.is_there) {
      steps.push_back({Place::kShell, MakePlace(place, facts_.has_systemd)});
    }
    absl::c_move(advice.steps, std::back_inserter(steps));
    const std::string watch = advice.needs_place ? place.spec.text() : advice.watch;
    if (!watch.empty() && !absl::c_linear_search(watches_, watch)) new_watches_.insert(watch);
    if (!watch.empty() && new_watches_.contains(watch)) {
      steps.push_back({Place::kConfiguration, ""});
    }
    subject.name = advice.vm;
    Add(kind, std::move(subject), absl::StrCat(what, " ", advice.what), std::move(steps));
  }

  static bool SharesPath(const v1::Vm& vm) {
    return absl::c_any_of(vm.problems(), [](const v1::Problem& problem) {
      return problem.code() == v1::PROBLEM_CODE_PATH_SHARED;
    });
  }

  // The report of a QEMU that cannot be followed, as its path leads to another one; null: none.
  const v1::UnfollowedSocket* HiddenAs(const QemuArguments& qemu) const {
    const auto& all = facts_.info.unfollowed_sockets();
    const auto found = absl::c_find_if(all, [&qemu](const v1::UnfollowedSocket& one) {
      return one.problem().code() == v1::PROBLEM_CODE_PATH_SHARED &&
             (one.name() == qemu.name || one.name() == qemu.id);
    });
    return found == all.end() ? nullptr : &*found;
  }

  // The name that a socket at `path` gives its VM; empty: it is not watched.
  std::string VmNameOf(const std::string& path) const {
    for (const WatchedPlace& place : facts_.watches) {
      if (const auto name = place.spec.VmName(path)) return *name;
    }
    return "";
  }

  // Reports a QEMU that shares `path`, which gives it `name`, with another one. A clone is to be
  // changed: its own name is another.
  void AddSharedPath(const Subject& subject, const std::string& name, const std::string& path,
                     const std::string& problem, const NodeProcess& qemu, const Manager* manager) {
    const std::string what = absl::StrCat("vmeventd reports: ", problem, ".");
    const QemuArguments arguments = ParseQemuArguments(qemu.arguments);
    if (name != arguments.name && name != arguments.id) {
      // Its arguments may call the file otherwise, as by /var/run.
      const auto own = absl::c_find_if(arguments.monitors, [&path](const QmpMonitor& one) {
        return FileOf(one.path) == FileOf(path);
      });
      return AddOwnMonitor("shared-path", subject,
                           absl::StrCat(what, " It needs a monitor at a path of its own, in place ",
                                        "of the one at ", path, "."),
                           qemu, manager, own == arguments.monitors.end() ? path : own->path);
    }
    Add("shared-path", subject,
        absl::StrCat(what,
                     " The other VM is to be changed. vmeventd can connect to this one again from "
                     "its own next start on."),
        absl::StrCat("ps -o pid,user,lstart,args -p ", kWords));
  }

  // Reports monitors of which no --watch takes one.
  void AddUnwatched(const Subject& subject, const NodeProcess& qemu, const Manager* manager,
                    const std::vector<Monitor>& monitors) {
    const char* const what = "No --watch takes a monitor of this QEMU";
    if (manager != nullptr && IsLibvirt(*manager)) return FollowLibvirt(subject, qemu, *manager);
    std::string refused;
    for (const Monitor& monitor : monitors) {
      const absl::string_view path = monitor.path;
      if (monitor.owner != nullptr) {
        if (IsLibvirt(*monitor.owner)) return FollowLibvirt(subject, qemu, *monitor.owner);
        if (manager == nullptr) manager = monitor.owner;
        refused = absl::StrCat(": its monitor ", path, " belongs to ", monitor.owner->name,
                               ", which needs it ", monitor.owner->need);
        continue;
      }
      if (monitor.held) {
        refused = absl::StrCat(": another program has its monitor ", path);
        continue;
      }
      if (!IsForFollowers(path)) {
        refused = absl::StrCat(": its monitor ", path,
                               " may be another program's, as it is not called NAME.qmp");
        continue;
      }
      if (monitor.is_lost) {
        refused = absl::StrCat(": the file of its monitor ", path, " is gone, or another socket's");
        if (manager == nullptr) {
          return Add("no-monitor", subject,
                     absl::StrCat(what, refused, ". It has it again from its next start on."),
                     absl::StrCat("ls -li ", QuoteForShell(path)));
        }
        continue;
      }
      if (qemu.own_tmp &&
          (absl::StartsWith(path, "/tmp/") || absl::StartsWith(path, "/var/tmp/"))) {
        refused = absl::StrCat(": its monitor ", path,
                               " is in a /tmp of its unit, which is another one at each start");
        continue;
      }
      if (!monitor.is_seen) return AddUnseen(subject, qemu, monitor);
      const auto same_name = directories_.find(std::string(FileOf(path)));
      const WatchSpec spec = SpecOfSocket(
          path, subject.name, same_name != directories_.end() && same_name->second.size() > 1);
      if (!spec.VmName(path).has_value()) {
        refused = absl::StrCat(": the file name of its monitor ", path, " has nothing before ",
                               spec.pattern.substr(1), ", where the VM's name belongs");
        continue;
      }
      new_watches_.insert(spec.text());
      return Add("unwatched", subject, absl::StrCat(what, "."), {{Place::kConfiguration, ""}});
    }
    AddOwnMonitor("unwatched", subject, absl::StrCat(what, refused, "."), qemu, manager);
  }

  // Reports a monitor for followers in a directory that vmeventd does not see.
  void AddUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor) {
    const std::string directory =
        monitor.path.substr(0, std::max(monitor.path.rfind('/'), size_t{1}));
    const std::string share =
        absl::StrCat("-v ", QuoteForShell(directory), ":", QuoteForShell(directory));
    std::vector<Step> steps;
    std::string what =
        absl::StrCat("vmeventd does not see the directory of its monitor ", monitor.path, ": ");
    const std::string unit = DaemonUnit();
    const auto is_below = [&directory](absl::string_view above) {
      return absl::StartsWith(absl::StrCat(directory, "/"), above);
    };
    if (qemu.own_root) {
      const OwnPlace place = PlaceFor(qemu, nullptr);
      if (!place.is_there) steps.push_back({Place::kShell, MakePlace(place, facts_.has_systemd)});
      absl::StrAppend(&what,
                      "it is in the QEMU's container. Have that share it at its next start.");
      steps.push_back({Place::kContainer,
                       absl::StrCat("-v ", place.spec.directory, ":", QuoteForShell(directory))});
      if (!place.is_watched) new_watches_.insert(place.spec.text());
      if (!place.is_watched) steps.push_back({Place::kConfiguration, ""});
      return Add("unwatched", std::move(subject), what, std::move(steps));
    }
    new_watches_.insert(SpecOfSocket(monitor.path, subject.name, false).text());
    steps.push_back({Place::kConfiguration, ""});
    if (daemon_ != nullptr && IsContained(*daemon_)) {
      absl::StrAppend(&what, "share it with vmeventd's container.");
      steps.push_back({Place::kContainer, share});
    } else if (unit == kDaemonUnit && (is_below("/tmp/") || is_below("/var/tmp/"))) {
      absl::StrAppend(&what, "its unit has a /tmp of its own.");
      steps.push_back({Place::kShell, ChangeUnit(unit, "tmp.conf", "PrivateTmp=no")});
    } else if (unit == kDaemonUnit &&
               (is_below("/home/") || is_below("/root/") || is_below("/run/user/"))) {
      absl::StrAppend(&what, "its unit hides the directories of users.");
      steps.push_back({Place::kShell, ChangeUnit(unit, "home.conf", "ProtectHome=read-only")});
    } else {
      absl::StrAppend(&what, "the QEMU and vmeventd are in different mount namespaces.");
      if (daemon_ != nullptr) {
        steps.push_back(
            {Place::kShell, absl::StrCat("grep -H . /proc/", qemu.pid, "/mountinfo /proc/",
                                         daemon_->pid, "/mountinfo")});
      }
    }
    Add("unwatched", std::move(subject), what, std::move(steps));
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
    if (&process == daemon_) LookAtLogs(process);
  }

  // Libvirt's logs belong to root, systemd's journal to a group.
  void LookAtLogs(const NodeProcess& daemon) {
    const Subject subject = {DescribeProcess(daemon)};
    // A user's own daemon follows VMs of that user, whose words the user may read.
    const std::string unit = DaemonUnit();
    if (unit.empty() && daemon.uid != 0 && !IsContained(daemon)) return;
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
        ChangeUnit(unit.empty() ? kDaemonUnit : unit, "journal.conf",
                   "SupplementaryGroups=systemd-journal"));
  }

  // Problems from the daemon that no finding above explains.
  void LookAtDaemonsProblems() {
    for (const v1::Vm& vm : facts_.vms) {
      if (vm.problems().empty() || explained_.contains(vm.ref().pid())) continue;
      Add("problem", {vm.ref().name()}, absl::StrCat("vmeventd reports: ", ProblemsText(vm), "."),
          absl::StrCat(facts_.client, " vms"));
    }
    for (const v1::UnfollowedSocket& socket : facts_.info.unfollowed_sockets()) {
      // The finding of its QEMU has more.
      const v1::ProblemCode code = socket.problem().code();
      if (facts_.examined && code == v1::PROBLEM_CODE_MANAGERS_OWN) continue;
      if (code == v1::PROBLEM_CODE_PATH_SHARED &&
          absl::c_any_of(diagnosis_.findings,
                         [](const Finding& one) { return one.kind == "shared-path"; })) {
        continue;
      }
      if (const NodeProcess* const qemu = ListenerAt(socket.path());
          qemu != nullptr && socket.problem().code() == v1::PROBLEM_CODE_REFUSED) {
        Add("problem", {socket.path(), absl::StrCat(qemu->pid)},
            absl::StrCat(DescribeProcess(*qemu),
                         " listens on a socket that was bound to this path, and another file has "
                         "taken its place: the monitor is out of reach until the VM's next start."),
            absl::StrCat("ps -o pid,user,lstart,args -p ", kWords));
        continue;
      }
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

  // The QEMU that listens on a socket that was bound to `path`; null: none is seen.
  const NodeProcess* ListenerAt(const std::string& path) const {
    for (const UnixSocket& socket : facts_.sockets) {
      if (!socket.listening || socket.path != path) continue;
      const auto qemu = absl::c_find_if(facts_.processes, [&](const NodeProcess& one) {
        return IsQemu(one.arguments) && Has(one, socket.inode);
      });
      if (qemu != facts_.processes.end()) return &*qemu;
    }
    return nullptr;
  }

  const NodeFacts& facts_;
  const NodeProcess* daemon_ = nullptr;  // the vmeventd that was asked
  // Directories of QEMUs' monitors, by the sockets' file names.
  std::map<std::string, std::set<std::string>> directories_;
  Diagnosis diagnosis_;
  std::set<int64_t> explained_;  // the QEMUs that a finding explains, by pid
  // The settings for what is followed and what the findings add: a setting replaces all that
  // vmeventd follows by itself where there is none, and all values that the file has for it.
  std::vector<std::string> watches_;
  std::vector<std::string> libvirts_;
  std::set<std::string> new_watches_;
  std::set<std::string> new_libvirts_;
};

}  // namespace

bool IsContained(const NodeProcess& process) {
  return absl::c_any_of(kContainers, [&process](absl::string_view name) {
    return absl::StrContains(process.cgroups, name);
  });
}

std::string Finding::line() const {
  return absl::StrJoin(steps, "\n", [](std::string* out, const Step& step) { *out += step.line; });
}

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
          .findings = {{"daemon", {address}, what, {{Place::kShell, line}}}}};
}

}  // namespace vmeventd::client
