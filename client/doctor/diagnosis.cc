#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/unix_address.h"
#include "client/doctor/doctor.h"
#include "client/output/terminal_text.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/core/specs.h"

namespace vmeventd::client {
namespace {

constexpr char kKvmdProgram[] = "ganeti-kvmd";
constexpr char kGanetiPattern[] = ".kvmd";
constexpr char kLibvirtLine[] = "libvirt = [\"qemu:///system\"]";
constexpr char kLibvirtSessionLine[] = "libvirt = [\"qemu:///session\"]";

// The daemon's shares of its descriptors: two for each VM, of three quarters of the limit.
constexpr uint64_t kDescriptorsOfVm = 2;
constexpr uint64_t DescriptorsFor(uint64_t vms) { return vms * kDescriptorsOfVm * 4 / 3; }

// `text` with a '*' in place of the VM's name, where that is a word of its own there. Unset: it is
// none.
std::optional<std::string> WithStar(absl::string_view text, absl::string_view name) {
  const size_t at = name.empty() ? absl::string_view::npos : text.find(name);
  if (at == absl::string_view::npos) return std::nullopt;
  const size_t end = at + name.size();
  if ((at > 0 && absl::ascii_isalnum(text[at - 1])) ||
      (end < text.size() && absl::ascii_isalnum(text[end]))) {
    return std::nullopt;
  }
  return absl::StrCat(text.substr(0, at), "*", text.substr(end));
}

// The --watch that takes the one socket and its like: "/run/qemu:*.qmp" for /run/qemu/web1.qmp, and
// "/run/vms/*:qmp.sock" for /run/vms/web1/qmp.sock of the VM web1. `of_many`: another QEMU has a
// monitor of the same file name.
WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many) {
  const size_t slash = path.rfind('/');
  const absl::string_view directory = path.substr(0, slash);
  const absl::string_view file = path.substr(slash + 1);
  const size_t dot = std::min(file.rfind('.'), file.size());
  const size_t above = directory.rfind('/');
  const absl::string_view entry = directory.substr(above + 1);
  const std::optional<std::string> in_file = WithStar(file, name);
  std::optional<std::string> in_directory = WithStar(entry, name);
  if (!in_directory.has_value() && !in_file.has_value() && of_many) in_directory = "*";
  WatchSpec spec = {std::string(directory), absl::StrCat("*", file.substr(dot))};
  if (in_directory.has_value() && above != absl::string_view::npos && !entry.empty()) {
    spec.directory = absl::StrCat(directory.substr(0, above + 1), *in_directory);
    if (!in_file.has_value()) spec.pattern = std::string(file);
  } else if (in_file.has_value()) {
    spec.pattern = *in_file;
  }
  return spec;
}

// The line that lists a libvirt's domains. virsh takes no socket's path that is longer than a Unix
// address.
std::string ListDomains(const std::string& uri) {
  const auto spec = ParseLibvirtUri(uri);
  if (!spec.ok() || spec->socket.size() <= UnixAddress::kMaxPath) {
    return absl::StrCat("virsh -c ", QuoteForShell(uri), " list");
  }
  const size_t slash = spec->socket.rfind('/');
  return absl::StrCat("cd ", QuoteForShell(spec->socket.substr(0, slash)), " && virsh -c ",
                      QuoteForShell(spec->UriAt(spec->socket.substr(slash + 1))), " list");
}

// The line that adds a setting to the daemon's unit.
std::string AddSetting(absl::string_view file, absl::string_view setting) {
  constexpr char kDirectory[] = "/etc/systemd/system/vmeventd.service.d";
  return absl::StrCat("install -d ", kDirectory, " && printf '[Service]\\n", setting, "\\n' >",
                      kDirectory, "/", file,
                      ".conf && systemctl daemon-reload && systemctl restart vmeventd");
}

// The sentence's end after a text that may be a question already.
const char* Stop(absl::string_view text) { return absl::EndsWith(text, "?") ? "" : "."; }

std::string DescribeProcess(const NodeProcess& process) {
  return absl::StrCat(process.program, " (pid ", process.pid, ")");
}

// The sockets of a node, and who has them.
class SocketIndex {
 public:
  explicit SocketIndex(const NodeFacts& facts) {
    for (const UnixSocket& socket : facts.sockets) {
      by_inode_[socket.inode] = &socket;
      if (!socket.path.empty()) by_path_.emplace(socket.path, &socket);
    }
    for (const NodeProcess& process : facts.processes) {
      for (const auto& [descriptor, inode] : process.sockets) owners_.emplace(inode, &process);
    }
  }

  const UnixSocket* Find(uint32_t inode) const {
    const auto found = by_inode_.find(inode);
    return found == by_inode_.end() ? nullptr : found->second;
  }

  // The socket that listens there, and `qemu` has it, if that can be seen.
  const UnixSocket* Listener(const std::string& path, const NodeProcess& qemu) const {
    const UnixSocket* other = nullptr;
    for (auto [it, end] = by_path_.equal_range(path); it != end; ++it) {
      if (!it->second->listening) continue;
      if (Has(qemu, it->second->inode)) return it->second;
      other = it->second;
    }
    return qemu.sees_descriptors ? nullptr : other;
  }

  // The connections to it that are accepted.
  std::vector<const UnixSocket*> Accepted(const std::string& path, const NodeProcess& qemu) const {
    std::vector<const UnixSocket*> accepted;
    for (auto [it, end] = by_path_.equal_range(path); it != end; ++it) {
      const UnixSocket* socket = it->second;
      if (socket->listening || socket->peer == 0) continue;
      // A connection to an earlier socket at the same path is another QEMU's.
      if (!qemu.sees_descriptors || Has(qemu, socket->inode)) accepted.push_back(socket);
    }
    return accepted;
  }

  // Null: no visible process.
  const NodeProcess* Owner(uint32_t inode) const {
    const auto found = owners_.find(inode);
    return found == owners_.end() ? nullptr : found->second;
  }

 private:
  static bool Has(const NodeProcess& process, uint32_t inode) {
    return std::any_of(process.sockets.begin(), process.sockets.end(),
                       [inode](const auto& socket) { return socket.second == inode; });
  }

  std::map<uint32_t, const UnixSocket*> by_inode_;
  std::multimap<std::string, const UnixSocket*> by_path_;
  std::map<uint32_t, const NodeProcess*> owners_;
};

class Doctor {
 public:
  explicit Doctor(const NodeFacts& facts) : facts_(facts), sockets_(facts) {}

  Diagnosis Finish() && {
    diagnosis_.is_here = facts_.is_here;
    diagnosis_.asked = Asked();
    LookAtRights();
    LookAtConnections();
    LookAtDaemon();
    LookAtSignals();
    LookAtHostShutdown();
    for (const WatchedPlace& place : facts_.watches) LookAtWatch(place);
    for (const NodeProcess& process : facts_.processes) {
      if (IsQemu(process.arguments)) LookAtQemu(process);
    }
    for (const NodeProcess& process : facts_.processes) LookAtProcess(process);
    LookAtDaemonsProblems();
    for (Draft& draft : drafts_) {
      Finding& finding = draft.finding;
      finding.line = absl::StrReplaceAll(
          finding.line,
          {{kPids, draft.pids}, {kName, finding.subjects.size() > 1 ? "NAME" : draft.name}});
      diagnosis_.findings.push_back(std::move(finding));
    }
    return std::move(diagnosis_);
  }

 private:
  // In a line: the pids of all subjects; the VM's name, or NAME where there are several. No name or
  // path of a process has a NUL.
  static constexpr absl::string_view kPids = {"\0pids", 5};
  static constexpr absl::string_view kName = {"\0name", 5};

  // The object of a finding.
  struct Subject {
    std::string text;
    int64_t pid = 0;
    std::string name = {};
  };

  struct Draft {
    Finding finding;
    std::string pids;  // of its subjects
    std::string name;  // of its first subject
  };

  // Merges findings of the same cause, which the same sentences and line answer.
  void Add(const char* kind, Subject subject, const std::string& what, const std::string& line,
           Place place = Place::kShell) {
    const auto [same, is_new] =
        by_cause_.emplace(absl::StrCat(kind, "\n", what, "\n", line), drafts_.size());
    if (is_new) {
      const std::string name = absl::StrReplaceAll(subject.name, {{",", ",,"}});
      drafts_.push_back(
          {{kind, {}, what, place, line}, "", name.empty() ? "NAME" : QuoteForShell(name)});
    }
    Draft& draft = drafts_[same->second];
    absl::StrAppend(&draft.pids, draft.pids.empty() ? "" : " ", subject.pid);
    draft.finding.subjects.push_back(std::move(subject.text));
  }

  std::string Asked() const {
    const DaemonAnswer& daemon = facts_.daemon;
    if (!daemon.reachable()) return absl::StrCat("Asked ", daemon.address, ", without an answer");
    return absl::StrCat("Asked vmeventd ", daemon.info.version(), " of ", daemon.info.node(),
                        " at ", daemon.address, ", which has ", Count(daemon.vms.size(), "VM"));
  }

  // The daemon's user, as far as it is seen.
  std::string DaemonUser() const {
    for (const NodeProcess& process : facts_.processes) {
      if (process.program == kDaemonProgram) return process.user;
    }
    return kDaemonProgram;
  }

  void LookAtRights() {
    if (facts_.is_root) return;
    Add("rights", {"vmevents doctor"},
        "Only root sees the sockets of other users' processes, and so who holds a monitor.",
        absl::StrCat("sudo ", facts_.command));
  }

  void LookAtConnections() {
    if (facts_.no_connections.empty()) return;
    Add("kernel", {"vmevents doctor"},
        absl::StrCat("The kernel does not show who is connected to a monitor, so a held or a hung "
                     "one is not found: ",
                     facts_.no_connections, "."),
        absl::StrCat("modprobe unix_diag && ", facts_.command));
  }

  void LookAtDaemon() {
    if (facts_.daemon.reachable()) return;
    const DaemonAnswer& daemon = facts_.daemon;
    if (!daemon.forbidden) {
      return Add("daemon", {daemon.address},
                 absl::StrCat("vmeventd does not answer: ", daemon.failure, Stop(daemon.failure)),
                 daemon.line);
    }
    const std::string what =
        absl::StrCat("No permission to query vmeventd: ", daemon.failure, Stop(daemon.failure));
    if (daemon.group.empty()) {
      return Add("daemon", {daemon.address}, what, absl::StrCat("sudo ", facts_.command));
    }
    Add("daemon", {daemon.address},
        absl::StrCat(what, " Members of the group ", daemon.group,
                     " have it from their next login on."),
        absl::StrCat("sudo usermod -aG ", QuoteForShell(daemon.group), " \"$USER\""));
  }

  static constexpr char kShowCapabilities[] = "systemctl show vmeventd | grep Capabilities=";
  static const char* LineForSenders(absl::string_view problem) {
    if (absl::StrContains(problem, "PID namespace")) {
      return "docker inspect -f '{{.Name}} {{.HostConfig.PidMode}}' $(docker ps -q)";
    }
    if (absl::StrContains(problem, "CAP_")) {
      return kShowCapabilities;
    }
    return "man vmeventd";
  }

  void LookAtSignals() {
    if (!facts_.daemon.reachable()) return;
    const std::string& problem = facts_.daemon.info.signal_senders().problem();
    // A watch that the user switched off is no finding.
    if (problem.empty() || absl::StartsWith(problem, "--")) return;
    Add("senders", {facts_.daemon.address},
        absl::StrCat("vmeventd cannot see who sends a signal, so a killed VM is a CRASH: ", problem,
                     ".",
                     absl::StrContains(problem, "PID namespace")
                         ? " Its container needs --pid host, or hostPID: true in Kubernetes."
                         : ""),
        LineForSenders(problem));
  }

  void LookAtHostShutdown() {
    // systemd is the only source of it.
    if (!facts_.daemon.reachable() || !facts_.has_systemd) return;
    const std::string& problem = facts_.daemon.info.host_shutdown().problem();
    if (problem.empty()) return;
    Add("host", {facts_.daemon.address},
        absl::StrCat(
            "vmeventd cannot see a shutdown of the host, so a VM that it ends is HOST_SIGNAL, "
            "HOST_POWERDOWN or HOST_KILL: ",
            problem, "."),
        "systemctl status dbus systemd-logind");
  }

  void LookAtWatch(const WatchedPlace& place) {
    const Subject subject = {place.spec.text()};
    if (const auto monitor = FindManagerMonitor(place.spec)) {
      Add("manager", subject,
          absl::StrCat("This --watch takes ", monitor->socket, ", a monitor that ", monitor->owner,
                       " needs for itself: ", monitor->hint, "."),
          absl::StrContains(monitor->hint, "session")   ? kLibvirtSessionLine
          : absl::StrContains(monitor->hint, "libvirt") ? kLibvirtLine
                                                        : "watch = [\"/run/qemu:*.qmp\"]",
          Place::kConfiguration);
    }
    if (!place.exists) {
      if (place.spec.optional) return;
      Add("directory", subject,
          "The directory does not exist. vmeventd follows its sockets once it does; check the "
          "spelling.",
          absl::StrCat("install -d -m 0755 ", QuoteForShell(place.spec.root())));
    } else if (facts_.daemon.reachable() && !DaemonSees(place.spec)) {
      Add("rights", subject, "The directory exists, but vmeventd's user may not read it.",
          absl::StrCat("setfacl -m u:", DaemonUser(), ":rx ", QuoteForShell(place.spec.root())));
    }
  }

  bool DaemonSees(const WatchSpec& spec) const {
    const auto& directories = facts_.daemon.info.directories();
    return std::none_of(directories.begin(), directories.end(), [&](const auto& directory) {
      return directory.path() == spec.directory && !directory.present();
    });
  }

  // The arguments of QEMU for a monitor of vmeventd's own.
  std::string OwnMonitor() const {
    WatchSpec spec = {"/run/qemu", "*.qmp"};
    for (const WatchedPlace& place : facts_.watches) {
      if (FindManagerMonitor(place.spec) || absl::EndsWith(place.spec.pattern, kGanetiPattern))
        continue;
      spec = place.spec;
      break;
    }
    const std::string path =
        absl::StrReplaceAll(absl::StrCat(spec.directory, "/", spec.pattern), {{",", ",,"}});
    const auto quote = [](std::string* out, absl::string_view part) {
      if (!part.empty()) *out += QuoteForShell(part);
    };
    return absl::StrCat(
        "-chardev socket,id=events,path=", absl::StrJoin(absl::StrSplit(path, '*'), kName, quote),
        ",server=on,wait=off -mon chardev=events,mode=control");
  }

  // A monitor of a QEMU, and its users.
  struct Monitor {
    std::string path;
    const UnixSocket* listener = nullptr;
    std::vector<const UnixSocket*> accepted;
    bool watched = false;
  };

  std::vector<Monitor> MonitorsOf(const NodeProcess& qemu, const QemuArguments& arguments) const {
    std::vector<Monitor> monitors;
    for (const QmpMonitor& given : arguments.monitors) {
      Monitor monitor;
      monitor.path = given.path;
      if (const auto socket = qemu.sockets.find(given.descriptor); socket != qemu.sockets.end()) {
        const UnixSocket* const known = sockets_.Find(socket->second);
        if (known != nullptr) monitor.path = known->path;
      }
      if (monitor.path.empty()) continue;
      monitor.listener = sockets_.Listener(monitor.path, qemu);
      monitor.accepted = sockets_.Accepted(monitor.path, qemu);
      if (const std::string* const path = WatchedPath(monitor.listener); path != nullptr) {
        monitor.path = *path;
      }
      monitor.watched = IsWatched(monitor.path);
      monitors.push_back(std::move(monitor));
    }
    return monitors;
  }

  // The path at which a --watch finds the socket, whatever it was bound to: QEMU may have been
  // given a relative path, or one in a container. Null: none finds it.
  const std::string* WatchedPath(const UnixSocket* listener) const {
    if (listener == nullptr || listener->file == UnixSocketFile()) return nullptr;
    for (const WatchedPlace& place : facts_.watches) {
      const auto found = place.sockets.find(listener->file);
      if (found != place.sockets.end()) return &found->second;
    }
    return nullptr;
  }

  bool IsWatched(const std::string& path) const {
    return std::any_of(facts_.watches.begin(), facts_.watches.end(),
                       [&path](const auto& place) { return place.spec.VmName(path).has_value(); });
  }

  // Returns whether QEMUs have monitors of that file name in several directories.
  bool IsInManyDirectories(absl::string_view file) const {
    std::set<std::string> directories;
    for (const NodeProcess& process : facts_.processes) {
      if (!IsQemu(process.arguments)) continue;
      for (const QmpMonitor& monitor : ParseQemuArguments(process.arguments).monitors) {
        const size_t slash = monitor.path.rfind('/');
        if (slash == std::string::npos || monitor.path.substr(slash + 1) != file) continue;
        directories.insert(monitor.path.substr(0, slash));
      }
    }
    return directories.size() > 1;
  }

  const v1::Vm* Followed(const NodeProcess& qemu) const {
    for (const v1::Vm& vm : facts_.daemon.vms) {
      if (vm.ref().pid() == qemu.pid) return &vm;
    }
    return nullptr;
  }

  // Adds at most one finding: the first is the reason of the others.
  void LookAtQemu(const NodeProcess& qemu) {
    ++diagnosis_.qemus;
    const QemuArguments arguments = ParseQemuArguments(qemu.arguments);
    const Subject subject = {arguments.name.empty()
                                 ? absl::StrCat("pid ", qemu.pid)
                                 : absl::StrCat(arguments.name, " (pid ", qemu.pid, ")"),
                             qemu.pid, arguments.name};
    explained_.insert(qemu.pid);
    if (qemu.stopped()) {
      return Add("hung-monitor", subject,
                 "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
                 absl::StrCat("kill -CONT ", kPids));
    }
    const v1::Vm* const vm = Followed(qemu);
    if (vm != nullptr && vm->problems().empty()) {
      ++diagnosis_.followed;
      ++diagnosis_.usable;
      return;
    }
    if (!facts_.network_namespace.empty() && !qemu.network_namespace.empty() &&
        qemu.network_namespace != facts_.network_namespace) {
      return Add(
          "namespace", subject,
          "This QEMU is in another network namespace, whose sockets cannot be seen from here.",
          absl::StrCat("for pid in ", kPids, "; do nsenter -t $pid -n ", facts_.command, "; done"));
    }
    const std::vector<Monitor> monitors = MonitorsOf(qemu, arguments);
    if (monitors.empty()) {
      return Add(
          "no-monitor", subject,
          "This QEMU has no QMP socket, so vmeventd cannot follow it. Give it one at its next "
          "start.",
          OwnMonitor(), Place::kQemu);
    }
    // By a vmeventd that does not answer here.
    for (const Monitor& monitor : monitors) {
      const NodeProcess* const daemon = vm == nullptr ? DaemonAt(monitor) : nullptr;
      if (daemon != nullptr) return void(++diagnosis_.followed_by[daemon->pid]);
    }
    // By the vmeventd that may not be asked, as a rule. LookAtRights() has the finding.
    if (facts_.daemon.forbidden && !facts_.is_root &&
        std::any_of(monitors.begin(), monitors.end(),
                    [this](const Monitor& one) { return IsHeldByUnseen(one); })) {
      ++diagnosis_.unseen;
      return;
    }
    std::optional<Obstacle> obstacle;
    for (const Monitor& monitor : monitors) {
      if (!monitor.watched) continue;
      obstacle = ObstacleAt(monitor);
      if (obstacle) continue;
      ++diagnosis_.usable;
      // vmeventd may take it: what it reports of the VM nevertheless is a problem.
      if (vm != nullptr) {
        ++diagnosis_.followed;
        explained_.erase(qemu.pid);
      }
      return;
    }
    if (obstacle) {
      return Add(obstacle->kind, {absl::StrCat(subject.text, " ", obstacle->path), subject.pid},
                 obstacle->what, obstacle->line);
    }
    AddUnwatched(subject, arguments, monitors);
  }

  // The vmeventd that holds the monitor; null: none.
  const NodeProcess* DaemonAt(const Monitor& monitor) const {
    for (const UnixSocket* connection : monitor.accepted) {
      const NodeProcess* const holder = sockets_.Owner(connection->peer);
      if (holder != nullptr && holder->program == kDaemonProgram) return holder;
    }
    return nullptr;
  }

  bool IsHeldByUnseen(const Monitor& monitor) const {
    return std::any_of(monitor.accepted.begin(), monitor.accepted.end(),
                       [this](const UnixSocket* connection) {
                         return sockets_.Owner(connection->peer) == nullptr;
                       });
  }

  // The obstacle between vmeventd and the monitor at `path`; the texts are as of Add().
  struct Obstacle {
    std::string path;
    const char* kind;
    std::string what;
    std::string line;
  };

  // Unset: nothing.
  std::optional<Obstacle> ObstacleAt(const Monitor& monitor) const {
    std::vector<std::string> holders;
    const NodeProcess* other = nullptr;
    for (const UnixSocket* connection : monitor.accepted) {
      const NodeProcess* const holder = sockets_.Owner(connection->peer);
      if (holder != nullptr && holder->program == kDaemonProgram) continue;
      if (holder != nullptr) other = holder;
      holders.push_back(holder == nullptr ? "a process that cannot be seen from here"
                                          : DescribeProcess(*holder));
    }
    const std::string directory = monitor.path.substr(0, monitor.path.rfind('/') + 1);
    if (!holders.empty()) {
      const std::string what = absl::StrCat(
          "The monitor is held by ", absl::StrJoin(holders, ", "),
          ". A monitor serves one client, and vmeventd waits until that one disconnects.");
      if (other == nullptr) {
        return Obstacle{monitor.path, "held-monitor", what,
                        absl::StrCat("ss -xp | grep -F ", QuoteForShell(directory))};
      }
      if (other->program == kKvmdProgram) {
        return Obstacle{monitor.path, "held-monitor", what, "systemctl disable --now ganeti-kvmd"};
      }
      return Obstacle{monitor.path, "held-monitor",
                      absl::StrCat(what,
                                   " Stop it if it is not needed; otherwise give it or vmeventd "
                                   "another monitor (docs/connect.md)."),
                      absl::StrCat("ps -o pid,user,lstart,args -p ", other->pid)};
    }
    if (monitor.listener == nullptr) {
      return Obstacle{monitor.path, "no-monitor",
                      "Nothing listens on the monitor socket of this QEMU's command line.",
                      absl::StrCat("ls -l ", QuoteForShell(directory))};
    }
    if (monitor.accepted.empty() && facts_.waited_at.contains(monitor.listener->inode)) {
      return Obstacle{monitor.path, "hung-monitor",
                      "This QEMU hangs: it does not accept the client that waits at its monitor. "
                      "The line shows what its threads do.",
                      absl::StrCat("ps -L -o tid,stat,wchan:30,comm -p ", kPids)};
    }
    return std::nullopt;
  }

  // Reports monitors of which no --watch takes one.
  void AddUnwatched(const Subject& subject, const QemuArguments& arguments,
                    const std::vector<Monitor>& monitors) {
    const char* const what = "No --watch takes a monitor of this QEMU";
    for (const Monitor& monitor : monitors) {
      const absl::string_view path = monitor.path;
      const WatchSpec spec =
          SpecOfSocket(path, arguments.name, IsInManyDirectories(path.substr(path.rfind('/') + 1)));
      const auto manager = FindManagerMonitor(spec);
      if (manager && manager->owner == "libvirt") {
        const bool session = absl::StrContains(manager->hint, "session");
        // Another finding reports a daemon or a libvirt that is not reached.
        if (!session && facts_.follows_libvirt) return void(++diagnosis_.usable);
        return Add("unwatched", subject,
                   absl::StrCat(what, ". It is a domain of libvirt: follow libvirt."),
                   session ? kLibvirtSessionLine : kLibvirtLine, Place::kConfiguration);
      }
      if (manager || !absl::StartsWith(monitor.path, "/")) continue;
      if (!monitor.accepted.empty()) continue;  // a client uses it
      if (!spec.VmName(path).has_value()) {
        return Add("unwatched", subject,
                   absl::StrCat("No --watch can take the monitor ", path,
                                ": its file name has nothing before ", spec.pattern.substr(1),
                                ", where the VM's name belongs. Give QEMU one with a name at its "
                                "next start."),
                   OwnMonitor(), Place::kQemu);
      }
      return Add("unwatched", subject, absl::StrCat(what, "; one is in ", spec.directory, "."),
                 absl::StrCat("watch = [\"", spec.text(), "\"]"), Place::kConfiguration);
    }
    Add("unwatched", subject,
        absl::StrCat(what,
                     ", and other programs need those that it has: give QEMU one more at its "
                     "next start."),
        OwnMonitor(), Place::kQemu);
  }

  void LookAtProcess(const NodeProcess& process) {
    if (process.program == kKvmdProgram) {
      const bool watches_ganeti = std::any_of(
          facts_.watches.begin(), facts_.watches.end(),
          [](const auto& place) { return absl::EndsWith(place.spec.pattern, kGanetiPattern); });
      if (!watches_ganeti) return;
      return Add(
          "manager", {DescribeProcess(process)},
          "ganeti-kvmd and vmeventd need the same monitors, NAME.kvmd, and a monitor serves one "
          "client; docs/connect.md describes how to replace kvmd.",
          "systemctl disable --now ganeti-kvmd");
    }
    if (process.program != kDaemonProgram) return;
    LookAtLogs(process);
    const uint64_t needed = DescriptorsFor(diagnosis_.qemus);
    if (process.descriptor_limit == 0 || process.descriptor_limit >= needed) return;
    Add("descriptors", {DescribeProcess(process)},
        absl::StrCat("It may open ", process.descriptor_limit, " descriptors. ", diagnosis_.qemus,
                     " QEMUs need ", needed, ", and each client connection three."),
        AddSetting("descriptors", "LimitNOFILE=262144"));
  }

  // Libvirt's logs belong to root, systemd's journal to a group.
  void LookAtLogs(const NodeProcess& daemon) {
    const Subject subject = {DescribeProcess(daemon)};
    if (facts_.follows_libvirt && daemon.misses_logs) {
      return Add(
          "words", subject,
          absl::StrCat("Its container has no ", kLibvirtLogs,
                       ", so a crash is reported without QEMU's last words: mount it, with -v "
                       "or as a hostPath."),
          absl::StrCat("ls -l /proc/", daemon.pid, "/root", kLibvirtLogs));
    }
    if (daemon.reads_all_files) return;
    if (facts_.follows_libvirt) {
      Add("words", subject,
          absl::StrCat("It may not read ", kLibvirtLogs,
                       ", so a crash is reported without QEMU's last words: it needs "
                       "CAP_DAC_OVERRIDE."),
          kShowCapabilities);
    }
    if (facts_.journal_group.empty() ||
        absl::c_linear_search(daemon.groups, facts_.journal_group)) {
      return;
    }
    Add("words", subject,
        "It may not read systemd's journal, so the crash of a QEMU in a unit is reported without "
        "its last words: it needs the group systemd-journal.",
        AddSetting("journal", "SupplementaryGroups=systemd-journal"));
  }

  // Problems from the daemon that no finding above explains.
  void LookAtDaemonsProblems() {
    const auto text = [](std::string* out, const v1::Problem& problem) { *out += problem.text(); };
    for (const v1::Vm& vm : facts_.daemon.vms) {
      if (vm.problems().empty() || explained_.contains(vm.ref().pid())) continue;
      Add("problem", {vm.ref().name()},
          absl::StrCat("vmeventd reports: ", absl::StrJoin(vm.problems(), "; ", text), "."),
          "vmevents vms");
    }
    for (const v1::UnfollowedSocket& socket : facts_.daemon.info.unfollowed_sockets()) {
      const bool forbidden = absl::StrContains(socket.problem().text(), "Permission denied");
      const std::string directory =
          QuoteForShell(socket.path().substr(0, socket.path().rfind('/')));
      const std::string user = DaemonUser();
      Add(forbidden ? "rights" : "problem", {socket.path()},
          absl::StrCat("vmeventd reports: ", socket.problem().text(), "."),
          forbidden ? absl::StrCat("setfacl -m u:", user, ":rx,d:u:", user, ":rw ", directory,
                                   " && setfacl -m u:", user, ":rw ", directory, "/*")
                    : absl::StrCat("ss -xlp | grep -F ", directory));
    }
    for (const v1::LibvirtConnection& connection : facts_.daemon.info.libvirt_connections()) {
      if (connection.connected()) continue;
      Add("libvirt", {connection.uri()},
          absl::StrCat("vmeventd is not connected to this libvirt: ", connection.problem().text(),
                       Stop(connection.problem().text())),
          ListDomains(connection.uri()));
    }
  }

  const NodeFacts& facts_;
  const SocketIndex sockets_;
  Diagnosis diagnosis_;
  std::vector<Draft> drafts_;
  std::map<std::string, size_t> by_cause_;  // the index of the draft
  std::set<int64_t> explained_;             // the QEMUs that a finding explains, by pid
};

}  // namespace

Diagnosis Diagnose(const NodeFacts& facts) { return Doctor(facts).Finish(); }

}  // namespace vmeventd::client
