#include <algorithm>
#include <map>
#include <optional>
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
#include "base/unix_address.h"
#include "client/doctor/doctor.h"
#include "client/output/terminal_text.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/core/specs.h"

namespace vmeventd::client {
namespace {

constexpr char kKvmdProgram[] = "ganeti-kvmd";
constexpr char kDisableKvmd[] = "systemctl disable --now ganeti-kvmd";
constexpr char kGanetiPattern[] = ".kvmd";
constexpr char kSystemLibvirt[] = "qemu:///system";
constexpr char kSessionLibvirt[] = "qemu:///session";

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

absl::string_view FileOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// The --watch that takes the one socket and its like: "/run/qemu:*.qmp" for /run/qemu/web1.qmp, and
// "/run/vms/*:qmp.sock" for /run/vms/web1/qmp.sock of the VM web1. `of_many`: another QEMU has a
// monitor of the same file name.
WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many) {
  const size_t slash = path.rfind('/');
  const absl::string_view directory = path.substr(0, slash);
  const absl::string_view file = FileOf(path);
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
      if (!socket.path.empty()) by_path_.emplace(socket.path, &socket);
    }
    for (const NodeProcess& process : facts.processes) {
      for (const auto& [descriptor, inode] : process.sockets) owners_.emplace(inode, &process);
    }
  }

  // The sockets that were bound to the path and that `qemu` has, if that can be seen: another QEMU
  // may have had one there.
  std::vector<const UnixSocket*> BoundTo(const std::string& path, const NodeProcess& qemu) const {
    std::vector<const UnixSocket*> sockets;
    for (auto [it, end] = by_path_.equal_range(path); it != end; ++it) {
      const uint32_t inode = it->second->inode;
      const bool has = absl::c_any_of(
          qemu.sockets, [inode](const auto& socket) { return socket.second == inode; });
      if (has || !qemu.sees_descriptors) sockets.push_back(it->second);
    }
    return sockets;
  }

  // A process that has a socket bound to the path; null: no visible one.
  const NodeProcess* OwnerOf(const std::string& path) const {
    for (auto [it, end] = by_path_.equal_range(path); it != end; ++it) {
      if (const NodeProcess* const owner = Owner(it->second->inode)) return owner;
    }
    return nullptr;
  }

  // Null: no visible process.
  const NodeProcess* Owner(uint32_t inode) const {
    const auto found = owners_.find(inode);
    return found == owners_.end() ? nullptr : found->second;
  }

 private:
  std::multimap<std::string, const UnixSocket*> by_path_;
  std::map<uint32_t, const NodeProcess*> owners_;
};

class Doctor {
 public:
  explicit Doctor(const NodeFacts& facts) : facts_(facts), sockets_(facts) {}

  Diagnosis Finish() && {
    diagnosis_.asked = Asked();
    diagnosis_.examined = facts_.examined;
    LookAtDaemon();
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
    for (Draft& draft : drafts_) {
      Finding& finding = draft.finding;
      finding.line = absl::StrReplaceAll(
          finding.line, {{kPids, draft.pids},
                         {kTexts, absl::StrJoin(finding.subjects, " ", Quoted)},
                         {kSettings, Settings()},
                         {kName, finding.subjects.size() > 1 ? "NAME" : draft.name}});
      diagnosis_.findings.push_back(std::move(finding));
    }
    return std::move(diagnosis_);
  }

 private:
  // In a line: the pids of all subjects, or their texts; the VM's name, or NAME where there are
  // several. No name or path of a process has a NUL.
  static constexpr absl::string_view kPids = {"\0pids", 5};
  static constexpr absl::string_view kTexts = {"\0texts", 6};
  static constexpr absl::string_view kName = {"\0name", 5};
  // In a line: the settings that follow what is followed now, and what the findings add to it.
  static constexpr absl::string_view kSettings = {"\0settings", 9};

  static void Quoted(std::string* out, const std::string& word) { *out += QuoteForShell(word); }

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
  void Add(const std::string& kind, Subject subject, const std::string& what,
           const std::string& line, Place place = Place::kShell) {
    auto draft = absl::c_find_if(drafts_, [&](const Draft& one) {
      return one.finding.kind == kind && one.finding.what == what && one.finding.line == line;
    });
    if (draft == drafts_.end()) {
      const std::string name = absl::StrReplaceAll(subject.name, {{",", ",,"}});
      draft = drafts_.insert(
          draft, {{kind, {}, what, place, line}, "", name.empty() ? "NAME" : QuoteForShell(name)});
    }
    absl::StrAppend(&draft->pids, draft->pids.empty() ? "" : " ", subject.pid);
    draft->finding.subjects.push_back(std::move(subject.text));
  }

  std::string Asked() const {
    const DaemonAnswer& daemon = facts_.daemon;
    if (!daemon.reachable()) {
      return absl::StrCat("Asked ", daemon.address, ", without an answer: no QEMU was examined");
    }
    return absl::StrCat(
        "Asked vmeventd ", daemon.info.version(), " of ", daemon.info.node(), " at ",
        daemon.address, ", which has ", Count(daemon.vms.size(), "VM"),
        facts_.examined ? "" : ". Its QEMUs were not examined: run `vmevents doctor` there");
  }

  // The user of the daemon that was asked, as far as it is seen.
  std::string DaemonUser() const {
    const absl::string_view socket = absl::StripPrefix(facts_.daemon.address, "unix:");
    const NodeProcess* const asked = sockets_.OwnerOf(std::string(socket));
    if (asked != nullptr && asked->program == kDaemonProgram) return asked->user;
    for (const NodeProcess& process : facts_.processes) {
      if (process.program == kDaemonProgram) return process.user;
    }
    return kDaemonProgram;
  }

  void LookAtRights() {
    if (facts_.is_root || !facts_.examined) return;
    Add("rights", {"vmevents doctor"},
        "Only root sees the sockets of other users' processes, and so who holds a monitor.",
        absl::StrCat("sudo ", facts_.client, " doctor"));
  }

  void LookAtDaemon() {
    const DaemonAnswer& daemon = facts_.daemon;
    if (daemon.reachable()) return;
    std::string what = absl::StrCat(
        daemon.forbidden ? "No permission to query vmeventd: " : "vmeventd does not answer: ",
        daemon.failure, Stop(daemon.failure));
    std::string line =
        daemon.forbidden ? absl::StrCat("sudo ", facts_.client, " doctor") : daemon.line;
    if (daemon.forbidden && !daemon.group.empty()) {
      absl::StrAppend(&what, " Members of the group ", daemon.group,
                      " have it from their next login on.");
      line = absl::StrCat("sudo usermod -aG ", QuoteForShell(daemon.group), " \"$USER\"");
    }
    Add("daemon", {daemon.address}, what, line);
  }

  void LookAtJournal() {
    const std::string& problem = facts_.daemon.info.journal_problem();
    if (problem.empty()) return;
    const std::vector<std::string> parts = absl::StrSplit(problem, absl::MaxSplits(": ", 1));
    const std::string& path = parts.front();
    const std::string what = absl::StrCat("New events are not durable: ", parts.back(), ". ");
    if (absl::StartsWith(parts.back(), "damaged: ")) {
      return Add("journal", {path},
                 absl::StrCat(what, "A restart moves the damaged file aside and begins a new one."),
                 "systemctl restart vmeventd");
    }
    Add("journal", {path},
        absl::StrCat(what,
                     "They wait in memory, and vmeventd writes them once the disk takes them: do "
                     "not restart it."),
        absl::StrCat("findmnt -T ", QuoteForShell(path.substr(0, path.rfind('/'))),
                     " -o TARGET,SOURCE,OPTIONS,AVAIL,USE%"));
  }

  static constexpr char kShowCapabilities[] = "systemctl show vmeventd | grep Capabilities=";

  void LookAtSignals() {
    const std::string& problem = facts_.daemon.info.signal_senders().problem();
    // A watch that the user switched off is no finding.
    if (problem.empty() || absl::StartsWith(problem, "--")) return;
    const bool contained = absl::StrContains(problem, "PID namespace");
    const char* const line =
        contained ? "docker inspect -f '{{.Name}} {{.HostConfig.PidMode}}' $(docker ps -q)"
        : absl::StrContains(problem, "CAP_") ? kShowCapabilities
                                             : "man vmeventd";
    Add("senders", {facts_.daemon.address},
        absl::StrCat(
            "vmeventd cannot see who sends a signal, so a killed VM is a CRASH: ", problem, ".",
            contained ? " Its container needs --pid host, or hostPID: true in Kubernetes." : ""),
        line);
  }

  void LookAtHostShutdown() {
    const std::string& problem = facts_.daemon.info.host_shutdown().problem();
    if (!facts_.has_systemd || problem.empty()) return;  // systemd is its only source
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
          std::string(kSettings), Place::kConfiguration);
      if (absl::StrContains(monitor->hint, "session")) {
        new_libvirts_.insert(kSessionLibvirt);
      } else if (absl::StrContains(monitor->hint, "libvirt")) {
        new_libvirts_.insert(kSystemLibvirt);
      } else {
        new_watches_.insert("/run/qemu:*.qmp");
      }
    }
    if (!place.exists) {
      Add("directory", subject,
          "The directory does not exist. vmeventd follows its sockets once it does; check the "
          "spelling.",
          absl::StrCat("install -d -m 0755 ", QuoteForShell(place.spec.root())));
    } else if (!DaemonSees(place.spec)) {
      Add("rights", subject, "The directory exists, but vmeventd's user may not read it.",
          absl::StrCat("setfacl -m u:", DaemonUser(), ":rx ", QuoteForShell(place.spec.root())));
    }
  }

  // The settings for what is followed and what the findings add: a setting replaces all that
  // vmeventd follows by itself where there is none, and all values that the file has for it.
  std::string Settings() const {
    std::vector<std::string> watches;
    for (const WatchedPlace& place : facts_.watches) {
      if (!FindManagerMonitor(place.spec)) watches.push_back(place.spec.text());
    }
    std::vector<std::string> libvirts;
    for (const v1::LibvirtConnection& connection : facts_.daemon.info.libvirt_connections()) {
      libvirts.push_back(connection.uri());
    }
    const auto line = [](const char* name, std::vector<std::string> values,
                         const std::set<std::string>& added) {
      for (const std::string& value : added) {
        if (!absl::c_linear_search(values, value)) values.push_back(value);
      }
      return values.empty()
                 ? ""
                 : absl::StrCat(name, " = [\"", absl::StrJoin(values, "\", \""), "\"]\n");
    };
    const std::string lines = absl::StrCat(line("watch", watches, new_watches_),
                                           line("libvirt", libvirts, new_libvirts_));
    return std::string(absl::StripSuffix(lines, "\n"));
  }

  bool FollowsLibvirt() const { return !facts_.daemon.info.libvirt_connections().empty(); }

  bool DaemonSees(const WatchSpec& spec) const {
    const auto& directories = facts_.daemon.info.directories();
    return absl::c_none_of(directories, [&](const auto& directory) {
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

  // `vm`: as vmeventd has the QEMU, whose monitor it may find at another path than QEMU was given:
  // a relative one, or one in a container. Null: not at all.
  std::vector<Monitor> MonitorsOf(const NodeProcess& qemu, const QemuArguments& arguments,
                                  const v1::Vm* vm) const {
    std::vector<Monitor> monitors;
    for (const QmpMonitor& given : arguments.monitors) {
      Monitor monitor;
      monitor.path = given.path;
      if (const auto socket = qemu.sockets.find(given.descriptor); socket != qemu.sockets.end()) {
        const auto known = absl::c_find_if(facts_.sockets, [&socket](const UnixSocket& one) {
          return one.inode == socket->second;
        });
        if (known != facts_.sockets.end()) monitor.path = known->path;
      }
      if (monitor.path.empty()) continue;
      for (const UnixSocket* socket : sockets_.BoundTo(monitor.path, qemu)) {
        if (socket->listening) monitor.listener = socket;
        if (!socket->listening && socket->peer != 0) monitor.accepted.push_back(socket);
      }
      if (vm != nullptr && FileOf(vm->monitor_path()) == FileOf(monitor.path)) {
        monitor.path = vm->monitor_path();
      }
      monitor.watched = IsWatched(monitor.path);
      monitors.push_back(std::move(monitor));
    }
    return monitors;
  }

  bool IsWatched(const std::string& path) const {
    return absl::c_any_of(
        facts_.watches, [&path](const auto& place) { return place.spec.VmName(path).has_value(); });
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
    const v1::Vm* const vm = Followed(qemu);
    const bool is_well = vm != nullptr && vm->problems().empty();
    if (is_well) ++diagnosis_.followed;
    if (qemu.stopped()) {
      return Add("hung-monitor", subject,
                 "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
                 absl::StrCat("kill -CONT ", kPids));
    }
    if (is_well) return;
    if (!facts_.network_namespace.empty() && !qemu.network_namespace.empty() &&
        qemu.network_namespace != facts_.network_namespace) {
      return Add(
          "namespace", subject,
          "This QEMU is in another network namespace, whose sockets cannot be seen from here.",
          absl::StrCat("for pid in ", kPids, "; do nsenter -t $pid -n ", facts_.client,
                       " doctor; done"));
    }
    const std::vector<Monitor> monitors = MonitorsOf(qemu, arguments, vm);
    if (monitors.empty() && vm == nullptr) {
      return Add(
          "no-monitor", subject,
          "This QEMU has no QMP socket, so vmeventd cannot follow it. Give it one at its next "
          "start.",
          OwnMonitor(), Place::kQemu);
    }
    if (vm == nullptr && IsHeld(monitors, IsDaemon)) {
      return void(++diagnosis_.followed_elsewhere);
    }
    // Perhaps by a vmeventd: LookAtRights() has the finding.
    if (vm == nullptr && !facts_.is_root && IsHeld(monitors, IsUnseen)) return;
    std::optional<Finding> obstacle;
    bool is_free = false;
    for (const Monitor& monitor : monitors) {
      if (!monitor.watched || is_free) continue;
      obstacle = ObstacleAt(monitor, vm);
      is_free = !obstacle;
    }
    if (obstacle) {
      Add(obstacle->kind, {absl::StrCat(subject.text, " ", obstacle->subjects[0]), subject.pid},
          obstacle->what, obstacle->line);
    } else if (vm != nullptr) {
      ++diagnosis_.followed;
      explained_.erase(qemu.pid);  // by LookAtDaemonsProblems()
    } else if (is_free) {
      ++diagnosis_.usable;
    } else {
      AddUnwatched(subject, arguments, monitors);
    }
  }

  // Kinds of a monitor's client; null: one that cannot be seen.
  static bool IsUnseen(const NodeProcess* client) { return client == nullptr; }
  static bool IsDaemon(const NodeProcess* client) {
    return client != nullptr && client->program == kDaemonProgram;
  }

  bool IsHeld(const std::vector<Monitor>& monitors, bool (*by)(const NodeProcess*)) const {
    return absl::c_any_of(monitors, [&](const Monitor& monitor) {
      return absl::c_any_of(monitor.accepted, [&](const UnixSocket* connection) {
        return by(sockets_.Owner(connection->peer));
      });
    });
  }

  // The obstacle between vmeventd and the monitor, whose path is the subject. Unset: none. `vm`:
  // vmeventd's own record of the QEMU, which has problems; null: it has none.
  std::optional<Finding> ObstacleAt(const Monitor& monitor, const v1::Vm* vm) const {
    std::vector<std::string> holders;
    const NodeProcess* other = nullptr;
    for (const UnixSocket* connection : monitor.accepted) {
      const NodeProcess* const holder = sockets_.Owner(connection->peer);
      // One that only root sees may be vmeventd, which has the VM.
      if (IsDaemon(holder) || (vm != nullptr && !facts_.is_root && IsUnseen(holder))) continue;
      if (holder != nullptr) other = holder;
      holders.push_back(holder == nullptr ? "a process that cannot be seen from here"
                                          : DescribeProcess(*holder));
    }
    const std::string directory =
        QuoteForShell(monitor.path.substr(0, monitor.path.rfind('/') + 1));
    Finding found = {"", {monitor.path}};
    if (!holders.empty()) {
      found.kind = "held-monitor";
      found.what = absl::StrCat(
          "The monitor is held by ", absl::StrJoin(holders, ", "),
          ". A monitor serves one client, and vmeventd waits until that one disconnects.");
      if (other == nullptr) {
        found.line = absl::StrCat("ss -xp | grep -F ", directory);
      } else if (other->program == kKvmdProgram) {
        found.line = kDisableKvmd;
      } else {
        found.what +=
            " Stop it if it is not needed; otherwise give it or vmeventd another monitor "
            "(docs/connect.md).";
        found.line = absl::StrCat("ps -o pid,user,lstart,args -p ", other->pid);
      }
    } else if (monitor.listener == nullptr) {
      found.kind = "no-monitor";
      found.what = "Nothing listens on the monitor socket of this QEMU's command line.";
      found.line = absl::StrCat("ls -l ", directory);
    } else if (vm != nullptr && monitor.accepted.empty() && monitor.listener->waited_at) {
      found.kind = "hung-monitor";
      found.what =
          "This QEMU hangs: it does not accept the client that waits at its monitor. The line "
          "shows what its threads do.";
      found.line = absl::StrCat("ps -L -o tid,stat,wchan:30,comm -p ", kPids);
    }
    return found.kind.empty() ? std::nullopt : std::optional(std::move(found));
  }

  // Reports monitors of which no --watch takes one.
  void AddUnwatched(const Subject& subject, const QemuArguments& arguments,
                    const std::vector<Monitor>& monitors) {
    const char* const what = "No --watch takes a monitor of this QEMU";
    for (const Monitor& monitor : monitors) {
      const absl::string_view path = monitor.path;
      const WatchSpec spec = SpecOfSocket(path, arguments.name, IsInManyDirectories(FileOf(path)));
      const auto manager = FindManagerMonitor(spec);
      if (manager && manager->owner == "libvirt") {
        const bool session = absl::StrContains(manager->hint, "session");
        // Another finding reports a libvirt that is not reached.
        if (!session && FollowsLibvirt()) return void(++diagnosis_.usable);
        new_libvirts_.insert(session ? kSessionLibvirt : kSystemLibvirt);
        return Add("unwatched", subject,
                   absl::StrCat(what, ". It is a domain of libvirt: follow libvirt."),
                   std::string(kSettings), Place::kConfiguration);
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
      new_watches_.insert(spec.text());
      return Add("unwatched", subject, absl::StrCat(what, "."), std::string(kSettings),
                 Place::kConfiguration);
    }
    Add("unwatched", subject,
        absl::StrCat(what,
                     ", and other programs need those that it has: give QEMU one more at its "
                     "next start."),
        OwnMonitor(), Place::kQemu);
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
    if (FollowsLibvirt() && daemon.misses_logs) {
      return Add(
          "words", subject,
          absl::StrCat("Its container has no ", kLibvirtLogs,
                       ", so a crash is reported without QEMU's last words: mount it, with -v "
                       "or as a hostPath."),
          absl::StrCat("ls -l /proc/", daemon.pid, "/root", kLibvirtLogs));
    }
    if (daemon.reads_all_files) return;
    if (FollowsLibvirt()) {
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
        "install -d /etc/systemd/system/vmeventd.service.d && printf "
        "'[Service]\\nSupplementaryGroups=systemd-journal\\n' "
        ">/etc/systemd/system/vmeventd.service.d/journal.conf && systemctl daemon-reload && "
        "systemctl restart vmeventd");
  }

  // Problems from the daemon that no finding above explains.
  void LookAtDaemonsProblems() {
    const auto text = [](std::string* out, const v1::Problem& problem) { *out += problem.text(); };
    for (const v1::Vm& vm : facts_.daemon.vms) {
      if (vm.problems().empty() || explained_.contains(vm.ref().pid())) continue;
      Add("problem", {vm.ref().name()},
          absl::StrCat("vmeventd reports: ", absl::StrJoin(vm.problems(), "; ", text), "."),
          absl::StrCat(facts_.client, " vms"));
    }
    for (const v1::UnfollowedSocket& socket : facts_.daemon.info.unfollowed_sockets()) {
      const bool forbidden = absl::StrContains(socket.problem().text(), "Permission denied");
      const std::string directory =
          QuoteForShell(socket.path().substr(0, socket.path().rfind('/')));
      const std::string user = DaemonUser();
      std::string line = absl::StrCat("ss -xlp | grep -F ", directory);
      if (forbidden) {
        line = absl::StrCat("setfacl -m u:", user, ":rx,d:u:", user, ":rw ", directory,
                            " && setfacl -m u:", user, ":rw ", directory, "/*");
      } else if (socket.problem().code() == v1::PROBLEM_CODE_REFUSED) {
        // Looks again: a QEMU may have begun to listen meanwhile.
        line = absl::StrCat("for socket in ", kTexts, "; do [ \"$(grep -cF \"$socket\" ",
                            "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done");
      }
      Add(forbidden ? "rights" : "problem", {socket.path()},
          absl::StrCat("vmeventd reports: ", socket.problem().text(), "."), line);
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
  std::set<int64_t> explained_;        // the QEMUs that a finding explains, by pid
  std::set<std::string> new_watches_;  // what the findings add to the configuration
  std::set<std::string> new_libvirts_;
};

}  // namespace

Diagnosis Diagnose(const NodeFacts& facts) { return Doctor(facts).Finish(); }

}  // namespace vmeventd::client
