#include "client/doctor/diagnose_qemu.h"

#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unix_address.h"
#include "client/doctor/commands_to_paste.h"
#include "client/doctor/diagnose_containers.h"
#include "client/doctor/diagnose_libvirt.h"
#include "client/doctor/diagnose_sockets.h"
#include "client/doctor/monitor_obstacle.h"
#include "client/doctor/monitor_paths.h"
#include "client/doctor/monitors.h"
#include "client/output/shell_quote.h"
#include "client/output/vm_text.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd::client {
namespace {

// Room that a path of a new monitor has for the VM's name, at least.
constexpr size_t kNameBytes = 24;

// A QEMU, and what is known of it.
struct KnownQemu {
  const NodeProcess& process;
  QemuArguments arguments;
  Subject subject;
  const v1::Vm* vm = nullptr;        // vmeventd's record of it; null: it has none
  const Manager* manager = nullptr;  // null: not known
};

KnownQemu Know(const NodeProcess& process, const Examination& exam) {
  QemuArguments arguments = ParseQemuArguments(process.arguments);
  Subject subject = {arguments.name.empty()
                         ? absl::StrCat("pid ", process.pid)
                         : absl::StrCat(arguments.name, " (pid ", process.pid, ")"),
                     absl::StrCat(process.pid), arguments.name};
  const auto vm = absl::c_find_if(
      exam.facts().vms, [&process](const v1::Vm& one) { return one.ref().pid() == process.pid; });
  return {process, std::move(arguments), std::move(subject),
          vm == exam.facts().vms.end() ? nullptr : &*vm,
          ManagerOf(process.arguments, process.cgroups)};
}

// The count of the diagnosis to which a QEMU belongs.
enum class Following { kFollowed, kFollowedElsewhere, kUsable, kNot };

// Returns whether a QEMU of this user can make a socket there.
bool MayBind(const NodeProcess& qemu, const WatchedPlace& place) {
  return qemu.uid == 0 || place.owner == qemu.uid || place.open_to_all;
}

void HintAtPanicDevice(const KnownQemu& qemu, Examination* exam) {
  // The machine microvm has no bus for a panic device.
  if (absl::c_any_of(qemu.process.arguments, [](const std::string& argument) {
        return absl::StrContains(argument, "microvm");
      })) {
    return;
  }
  const bool is_of_nova = qemu.vm != nullptr && qemu.vm->ref().labels().contains("nova.name");
  MonitorAdvice advice = AdvisePanicDevice(qemu.manager, qemu.process, is_of_nova);
  Subject subject = qemu.subject;
  if (!advice.vm.empty()) subject.name = advice.vm;
  exam->AddHint(
      kPanicDevice, std::move(subject),
      absl::StrCat("Without a panic device a panic of the guest is no CRASH: it looks like a "
                   "reboot or a hang. ",
                   advice.what),
      std::move(advice.steps));
}

// Reports that a QEMU needs a monitor for vmeventd, and how it gets one. `shared`: the path that
// its monitor has, and must not have.
void AddOwnMonitor(const char* kind, const KnownQemu& qemu, const std::string& what,
                   const std::string& shared, Examination* exam) {
  const OwnPlace place = PlaceFor(qemu.process, qemu.manager, *exam);
  MonitorAdvice advice = AdviseMonitor(qemu.manager, qemu.process, place, shared, exam);
  std::vector<Step> steps;
  if (advice.needs_place && !place.is_there) {
    steps.push_back({Place::kShell, MakePlace(place, exam->facts().has_systemd)});
  }
  absl::c_move(advice.steps, std::back_inserter(steps));
  const std::string watch = advice.needs_place ? place.spec.text() : advice.watch;
  ProposedSettings* const settings = exam->settings();
  if (!watch.empty() && !settings->Has(kWatchSetting, watch)) settings->Need(kWatchSetting, watch);
  if (!watch.empty() && settings->Needs(kWatchSetting, watch)) {
    steps.push_back({Place::kConfiguration, ""});
  }
  Subject subject = qemu.subject;
  subject.name = advice.vm;
  exam->Add(kind, std::move(subject), absl::StrCat(what, " ", advice.what), std::move(steps));
}

bool SharesPath(const v1::Vm& vm) {
  return absl::c_any_of(vm.problems(), [](const v1::Problem& problem) {
    return problem.code() == v1::PROBLEM_CODE_SHARED_PATH;
  });
}

// Returns the report of a QEMU that cannot be followed because its path leads to another QEMU;
// null: there is none.
const v1::UnfollowedSocket* HiddenAs(const NodeFacts& facts, const QemuArguments& qemu) {
  const auto& all = facts.info.unfollowed_sockets();
  const auto found = absl::c_find_if(all, [&qemu](const v1::UnfollowedSocket& one) {
    return one.problem().code() == v1::PROBLEM_CODE_SHARED_PATH &&
           (one.name() == qemu.name || one.name() == qemu.id);
  });
  return found == all.end() ? nullptr : &*found;
}

// Returns whether another QEMU uses the path of this one, or a path with its name.
bool HasRival(const KnownQemu& qemu, const std::string& name, const Examination& exam) {
  const NodeFacts& facts = exam.facts();
  const v1::UnfollowedSocket* const own = HiddenAs(facts, qemu.arguments);
  return absl::c_any_of(facts.vms,
                        [&](const v1::Vm& vm) {
                          return vm.ref().pid() != qemu.process.pid && SharesPath(vm) &&
                                 exam.VmNameOf(vm.monitor_path()) == name;
                        }) ||
         absl::c_any_of(facts.info.unfollowed_sockets(), [&](const v1::UnfollowedSocket& one) {
           return &one != own && one.problem().code() == v1::PROBLEM_CODE_SHARED_PATH &&
                  exam.VmNameOf(one.path()) == name;
         });
}

// Reports a QEMU that shares `path`, which gives it `name`, with another one. If one of them is a
// clone, whose own name differs, the clone has to be changed.
void AddSharedPath(const KnownQemu& qemu, const std::string& path, const std::string& problem,
                   Examination* exam) {
  const std::string name = exam->VmNameOf(path);
  const std::string what = absl::StrCat("vmeventd reports: ", problem, ".");
  const QemuArguments& arguments = qemu.arguments;
  const std::string in_project = NameInProject(qemu.manager, qemu.process);
  const bool is_own =
      in_project.empty() ? name == arguments.name || name == arguments.id : name == in_project;
  if (!is_own) {
    // QEMU's arguments may name the file by another path, such as /var/run.
    const auto own = absl::c_find_if(arguments.monitors, [&path](const QmpMonitor& one) {
      return FileOf(one.path) == FileOf(path);
    });
    return AddOwnMonitor("shared-path", qemu,
                         absl::StrCat(what, " It needs a monitor at a path of its own, in place ",
                                      "of the one at ", path, "."),
                         own == arguments.monitors.end() ? path : own->path, exam);
  }
  exam->Add("shared-path", qemu.subject,
            absl::StrCat(what, HasRival(qemu, name, *exam) ? " Change the other VM." : "",
                         " vmeventd can connect to this one again once this one has been "
                         "restarted."),
            absl::StrCat("ps -o pid,user,lstart,args -p ", kWords));
}

// Returns whether the monitor's path is one of its QEMU's container.
bool IsInContainer(const Monitor& monitor, const NodeProcess& qemu) {
  return !monitor.is_seen && qemu.qemu->own_root;
}

// The path at which the host has the monitor once its container's directory is shared.
std::string PathOutside(const Monitor& monitor, const NodeProcess& qemu, const Examination& exam) {
  return absl::StrCat(PlaceFor(qemu, nullptr, exam).spec.directory, "/", FileOf(monitor.path));
}

// The --watch that takes the monitor of the QEMU `name`.
WatchSpec SpecOf(const Monitor& monitor, const std::string& name, const Examination& exam) {
  const auto same_name = exam.directories().find(std::string(FileOf(monitor.path)));
  const bool of_many = same_name != exam.directories().end() && same_name->second.size() > 1;
  return SpecOfSocket(monitor.path, name, of_many);
}

// A reason why no --watch can take a monitor.
struct Unusable {
  std::string why;       // the end of a sentence
  bool is_lost = false;  // QEMU makes the monitor again at its next start
};

// Returns why `spec` cannot take the monitor; unset: it can. The order decides what is reported:
// first that the monitor is another program's, which must keep it; then that vmeventd cannot reach
// it; last that no --watch can name it.
std::optional<Unusable> WhyNot(const Monitor& monitor, const WatchSpec& spec,
                               const NodeProcess& qemu, const Examination& exam) {
  const std::string& path = monitor.path;
  if (monitor.owner != nullptr) {
    return Unusable{absl::StrCat("its monitor ", path, " belongs to ", monitor.owner->name,
                                 ", which needs it ", monitor.owner->need)};
  }
  if (monitor.is_abstract) {
    return Unusable{absl::StrCat("its monitor ", path, " is an abstract socket, which is no file")};
  }
  if (monitor.held) return Unusable{absl::StrCat("another program has its monitor ", path)};
  if (!IsForFollowers(path)) {
    return Unusable{absl::StrCat("its monitor ", path,
                                 " may be another program's, as it is not called NAME.qmp")};
  }
  if (!absl::StartsWith(path, "/")) {
    return Unusable{absl::StrCat("the path of its monitor, ", path,
                                 ", is relative, and its directory is not known")};
  }
  if (monitor.is_lost) {
    return Unusable{absl::StrCat("the file of its monitor ", path, " is gone, or another socket's"),
                    /*is_lost=*/true};
  }
  if (qemu.qemu->own_tmp &&
      (absl::StartsWith(path, "/tmp/") || absl::StartsWith(path, "/var/tmp/"))) {
    return Unusable{absl::StrCat(
        "its monitor ", path, " is in the private /tmp of its unit, which is new at each start")};
  }
  if (IsInContainer(monitor, qemu)) {
    const std::string outside = PathOutside(monitor, qemu, exam);
    if (outside == path || !exam.IsTaken(outside)) return std::nullopt;
    return Unusable{absl::StrCat("the directory of its monitor ", path, " is its container's, and ",
                                 outside, " is taken")};
  }
  if (!MayPropose(spec)) {
    return Unusable{
        absl::StrCat("vmeventd's configuration file takes no --watch for its monitor ", path)};
  }
  if (monitor.is_seen && !spec.VmName(path).has_value()) {
    return Unusable{absl::StrCat("the file name of its monitor ", path, " has nothing before ",
                                 spec.pattern.substr(1), ", where the VM's name belongs")};
  }
  return std::nullopt;
}

constexpr char kUnwatched[] = "No --watch takes a monitor of this QEMU";

// Proposes the --watch that takes the monitor, and what else vmeventd needs to see it.
void ProposeWatch(const KnownQemu& qemu, const Monitor& monitor, const WatchSpec& spec,
                  Examination* exam) {
  if (IsInContainer(monitor, qemu.process)) exam->Take(PathOutside(monitor, qemu.process, *exam));
  if (!monitor.is_seen) return DiagnoseUnseen(qemu.subject, qemu.process, monitor, exam);
  exam->settings()->Need(kWatchSetting, spec.text());
  exam->Add("unwatched", qemu.subject, absl::StrCat(kUnwatched, "."),
            {{Place::kConfiguration, ""}});
}

// Reports a QEMU of which no --watch takes a monitor, by the first monitor that one can take. If
// there is none, the QEMU needs another monitor, and the reason against the last is reported.
void AddUnwatched(KnownQemu qemu, const std::vector<Monitor>& monitors, Examination* exam) {
  if (qemu.manager != nullptr && IsLibvirt(*qemu.manager)) {
    return FollowLibvirt(qemu.subject, qemu.process, *qemu.manager, exam);
  }
  if (monitors.empty()) {
    return AddOwnMonitor("no-monitor", qemu,
                         "This QEMU has no QMP socket, so vmeventd cannot follow it.", "", exam);
  }
  std::string why_not;
  for (const Monitor& monitor : monitors) {
    if (qemu.manager == nullptr) qemu.manager = monitor.owner;
    if (monitor.owner != nullptr && IsLibvirt(*monitor.owner)) {
      return FollowLibvirt(qemu.subject, qemu.process, *monitor.owner, exam);
    }
    const WatchSpec spec = SpecOf(monitor, qemu.subject.name, *exam);
    const std::optional<Unusable> unusable = WhyNot(monitor, spec, qemu.process, *exam);
    if (!unusable) return ProposeWatch(qemu, monitor, spec, exam);
    why_not = absl::StrCat(": ", unusable->why);
    if (unusable->is_lost && qemu.manager == nullptr) {
      return exam->Add(
          "no-monitor", qemu.subject,
          absl::StrCat(kUnwatched, why_not, ". It has it again from its next start on."),
          absl::StrCat("ls -li ", QuoteForShell(monitor.path)));
    }
  }
  AddOwnMonitor("unwatched", qemu, absl::StrCat(kUnwatched, why_not, "."), "", exam);
}

// Reports a QEMU whose process does not run, so that it answers nobody. Returns whether that is so.
bool AddHalt(const KnownQemu& qemu, Examination* exam) {
  const NodeProcess& process = qemu.process;
  if (process.stopped()) {
    exam->Add("hung-monitor", qemu.subject,
              "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
              absl::StrCat("kill -CONT ", kWords));
    return true;
  }
  if (!process.qemu->frozen_by.empty()) {
    exam->Add("hung-monitor", qemu.subject,
              absl::StrCat("This QEMU is frozen with its cgroup, ", process.qemu->frozen_by,
                           ", so its monitor does not answer: docker pause and systemctl freeze "
                           "do that."),
              ThawCommand(process));
    return true;
  }
  if (process.qemu->dumps_core) {
    exam->Add("hung-monitor", qemu.subject,
              "This QEMU has crashed, and the kernel writes its core: it ends once that is done.",
              absl::StrCat("grep CoreDumping /proc/", process.pid, "/status"));
    return true;
  }
  return false;
}

// Reports the first obstacle at the QEMU's monitors.
Following DiagnoseMonitors(const KnownQemu& qemu, const std::vector<Monitor>& monitors,
                           Examination* exam) {
  for (const Monitor& monitor : monitors) {
    if (qemu.vm != nullptr || !monitor.held) continue;
    if (IsDaemon(monitor.client)) return Following::kFollowedElsewhere;
    // The holder may be a vmeventd: DiagnoseRights() adds the finding.
    if (monitor.client == nullptr && !exam->facts().is_root) return Following::kNot;
  }
  Finding obstacle;  // at the last of the watched ones; one that has none is enough
  bool is_free = false;
  for (const Monitor& monitor : monitors) {
    if (is_free || !IsWatched(*exam, monitor)) continue;
    obstacle = ObstacleAt(*exam, monitor, qemu.vm);
    is_free = obstacle.kind.empty();
  }
  if (!obstacle.kind.empty()) {
    exam->Add(obstacle.kind,
              {absl::StrCat(qemu.subject.text, " ", obstacle.subjects[0]), qemu.subject.word},
              obstacle.what, obstacle.steps);
    return Following::kNot;
  }
  if (qemu.vm != nullptr) {
    exam->explained()->erase(qemu.process.pid);  // added by DiagnoseReportedVms()
    return Following::kFollowed;
  }
  if (is_free) return Following::kUsable;
  AddUnwatched(qemu, monitors, exam);
  return Following::kNot;
}

// Reports the first obstacle between vmeventd and the QEMU. Each one hides those after it: a
// process that does not run answers on no monitor, however well it was followed; sockets that
// cannot be seen tell nothing; if QEMUs share a path, vmeventd has reported which of them it
// follows; and only then do the monitors tell what is wrong.
Following DiagnoseKnown(const KnownQemu& qemu, Examination* exam) {
  const bool is_halted = AddHalt(qemu, exam);
  if (qemu.vm != nullptr && qemu.vm->problems().empty()) return Following::kFollowed;
  if (is_halted) return Following::kNot;
  if (!qemu.process.qemu->sees_network) {
    exam->Add("namespace", qemu.subject,
              "The sockets of this QEMU cannot be seen from here. Paste the line on the host, as "
              "root and outside of any container.",
              absl::StrCat(exam->facts().client, " doctor"));
    return Following::kNot;
  }
  if (qemu.vm != nullptr && SharesPath(*qemu.vm)) {
    AddSharedPath(qemu, qemu.vm->monitor_path(), ProblemsText(*qemu.vm), exam);
    return Following::kFollowed;
  }
  const v1::UnfollowedSocket* const hidden = HiddenAs(exam->facts(), qemu.arguments);
  if (qemu.vm == nullptr && hidden != nullptr) {
    AddSharedPath(qemu, hidden->path(), hidden->problem().text(), exam);
    return Following::kNot;
  }
  return DiagnoseMonitors(
      qemu, MonitorsOf(*exam, qemu.process, qemu.arguments, qemu.manager, qemu.vm), exam);
}

}  // namespace

OwnPlace PlaceFor(const NodeProcess& qemu, const Manager* manager, const Examination& exam) {
  const bool binds_as_root =
      manager != nullptr && (manager->id == ManagerId::kIncus || manager->id == ManagerId::kLxd ||
                             manager->id == ManagerId::kProxmox);
  for (const WatchedPlace& place : exam.facts().watches) {
    const bool is_ganetis = absl::EndsWith(place.spec.pattern, kGanetiMonitorSuffix);
    if (FindManagerMonitors(place.spec) || is_ganetis || place.spec.has_directories()) continue;
    // QEMU cannot bind a longer path.
    if (place.spec.text().size() + kNameBytes > UnixAddress::kMaxPath) continue;
    if (place.exists && (binds_as_root || MayBind(qemu, place))) return {place.spec, true, true};
  }
  OwnPlace own = {{"/run/qemu", "*.qmp"}};
  // Their QEMUs run as nobody, which removes the sockets.
  if (binds_as_root && manager->id != ManagerId::kProxmox) own.owner = "nobody";
  if (exam.daemon() != nullptr && exam.daemon()->uid != 0 && exam.daemon()->uid == qemu.uid) {
    own.spec.directory = absl::StrCat("/run/user/", qemu.uid, "/qemu");
  } else if (!binds_as_root && qemu.uid != 0) {
    own.spec.directory = absl::StrCat("/run/qemu-", qemu.user);
    own.owner = qemu.user;
  }
  own.is_watched = absl::c_any_of(exam.facts().watches, [&own](const WatchedPlace& place) {
    return place.spec.text() == own.spec.text();
  });
  return own;
}

void DiagnoseQemu(const NodeProcess& process, Examination* exam) {
  const KnownQemu qemu = Know(process, *exam);
  exam->explained()->insert(process.pid);
  if (qemu.arguments.traits.no_panic_device) HintAtPanicDevice(qemu, exam);
  Diagnosis* const diagnosis = exam->diagnosis();
  ++diagnosis->qemus;
  switch (DiagnoseKnown(qemu, exam)) {
    case Following::kFollowed:
      ++diagnosis->followed;
      break;
    case Following::kFollowedElsewhere:
      ++diagnosis->followed_elsewhere;
      break;
    case Following::kUsable:
      ++diagnosis->usable;
      break;
    case Following::kNot:
      break;
  }
}

}  // namespace vmeventd::client
