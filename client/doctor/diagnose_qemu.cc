#include "client/doctor/diagnose_qemu.h"

#include <cstddef>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
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

// Returns whether a QEMU of this user can make a socket there.
bool MayBind(const NodeProcess& qemu, const WatchedPlace& place) {
  return qemu.uid == 0 || place.owner == qemu.uid || place.open_to_all;
}

void HintAtPanicDevice(Subject subject, const NodeProcess& qemu, const v1::Vm* vm,
                       Examination* exam) {
  // The machine microvm has no bus for a panic device.
  if (absl::c_any_of(qemu.arguments, [](const std::string& argument) {
        return absl::StrContains(argument, "microvm");
      })) {
    return;
  }
  const bool is_of_nova = vm != nullptr && vm->ref().labels().contains("nova.name");
  MonitorAdvice advice =
      AdvisePanicDevice(ManagerOf(qemu.arguments, qemu.cgroups), qemu, is_of_nova);
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
void AddOwnMonitor(const char* kind, Subject subject, const std::string& what,
                   const NodeProcess& qemu, const Manager* manager, const std::string& shared,
                   Examination* exam) {
  const OwnPlace place = PlaceFor(qemu, manager, *exam);
  MonitorAdvice advice = AdviseMonitor(manager, qemu, place, shared, exam);
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
bool HasRival(const NodeProcess& qemu, const std::string& name, const Examination& exam) {
  const NodeFacts& facts = exam.facts();
  const v1::UnfollowedSocket* const own = HiddenAs(facts, ParseQemuArguments(qemu.arguments));
  return absl::c_any_of(facts.vms,
                        [&](const v1::Vm& vm) {
                          return vm.ref().pid() != qemu.pid && SharesPath(vm) &&
                                 exam.VmNameOf(vm.monitor_path()) == name;
                        }) ||
         absl::c_any_of(facts.info.unfollowed_sockets(), [&](const v1::UnfollowedSocket& one) {
           return &one != own && one.problem().code() == v1::PROBLEM_CODE_SHARED_PATH &&
                  exam.VmNameOf(one.path()) == name;
         });
}

// Reports a QEMU that shares `path`, which gives it `name`, with another one. If one of them is a
// clone, whose own name differs, the clone has to be changed.
void AddSharedPath(const Subject& subject, const std::string& name, const std::string& path,
                   const std::string& problem, const NodeProcess& qemu, const Manager* manager,
                   Examination* exam) {
  const std::string what = absl::StrCat("vmeventd reports: ", problem, ".");
  const QemuArguments arguments = ParseQemuArguments(qemu.arguments);
  const std::string in_project = NameInProject(manager, qemu);
  const bool is_own =
      in_project.empty() ? name == arguments.name || name == arguments.id : name == in_project;
  if (!is_own) {
    // QEMU's arguments may name the file by another path, such as /var/run.
    const auto own = absl::c_find_if(arguments.monitors, [&path](const QmpMonitor& one) {
      return FileOf(one.path) == FileOf(path);
    });
    return AddOwnMonitor("shared-path", subject,
                         absl::StrCat(what, " It needs a monitor at a path of its own, in place ",
                                      "of the one at ", path, "."),
                         qemu, manager, own == arguments.monitors.end() ? path : own->path, exam);
  }
  exam->Add("shared-path", subject,
            absl::StrCat(what, HasRival(qemu, name, *exam) ? " Change the other VM." : "",
                         " vmeventd can connect to this one again once this one has been "
                         "restarted."),
            absl::StrCat("ps -o pid,user,lstart,args -p ", kWords));
}

// Reports monitors of which no --watch takes one.
void AddUnwatched(const Subject& subject, const NodeProcess& qemu, const Manager* manager,
                  const std::vector<Monitor>& monitors, Examination* exam) {
  const char* const what = "No --watch takes a monitor of this QEMU";
  if (manager != nullptr && IsLibvirt(*manager))
    return FollowLibvirt(subject, qemu, *manager, exam);
  std::string refused;
  for (const Monitor& monitor : monitors) {
    const absl::string_view path = monitor.path;
    if (monitor.owner != nullptr) {
      if (IsLibvirt(*monitor.owner)) return FollowLibvirt(subject, qemu, *monitor.owner, exam);
      if (manager == nullptr) manager = monitor.owner;
      refused = absl::StrCat(": its monitor ", path, " belongs to ", monitor.owner->name,
                             ", which needs it ", monitor.owner->need);
      continue;
    }
    if (monitor.is_abstract) {
      refused = absl::StrCat(": its monitor ", path, " is an abstract socket, which is no file");
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
    if (!absl::StartsWith(path, "/")) {
      refused = absl::StrCat(": the path of its monitor, ", path,
                             ", is relative, and its directory is not known");
      continue;
    }
    if (monitor.is_lost) {
      refused = absl::StrCat(": the file of its monitor ", path, " is gone, or another socket's");
      if (manager == nullptr) {
        return exam->Add("no-monitor", subject,
                         absl::StrCat(what, refused, ". It has it again from its next start on."),
                         absl::StrCat("ls -li ", QuoteForShell(path)));
      }
      continue;
    }
    if (qemu.qemu->own_tmp &&
        (absl::StartsWith(path, "/tmp/") || absl::StartsWith(path, "/var/tmp/"))) {
      refused = absl::StrCat(": its monitor ", path,
                             " is in the private /tmp of its unit, which is new at each start");
      continue;
    }
    const auto same_name = exam->directories().find(std::string(FileOf(path)));
    const WatchSpec spec = SpecOfSocket(
        path, subject.name, same_name != exam->directories().end() && same_name->second.size() > 1);
    const bool is_inside = !monitor.is_seen && qemu.qemu->own_root;
    if (!is_inside && !MayPropose(spec)) {
      refused =
          absl::StrCat(": vmeventd's configuration file takes no --watch for its monitor ", path);
      continue;
    }
    if (is_inside) {
      const std::string outside =
          absl::StrCat(PlaceFor(qemu, nullptr, *exam).spec.directory, "/", FileOf(path));
      if (outside != path && exam->IsTaken(outside)) {
        refused = absl::StrCat(": the directory of its monitor ", path, " is its container's, and ",
                               outside, " is taken");
        continue;
      }
      exam->Take(outside);
    }
    if (!monitor.is_seen) return DiagnoseUnseen(subject, qemu, monitor, exam);
    if (!spec.VmName(path).has_value()) {
      refused = absl::StrCat(": the file name of its monitor ", path, " has nothing before ",
                             spec.pattern.substr(1), ", where the VM's name belongs");
      continue;
    }
    exam->settings()->Need(kWatchSetting, spec.text());
    return exam->Add("unwatched", subject, absl::StrCat(what, "."), {{Place::kConfiguration, ""}});
  }
  AddOwnMonitor("unwatched", subject, absl::StrCat(what, refused, "."), qemu, manager, "", exam);
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

void DiagnoseQemu(const NodeProcess& qemu, Examination* exam) {
  ++exam->diagnosis()->qemus;
  const QemuArguments arguments = ParseQemuArguments(qemu.arguments);
  const Subject subject = {arguments.name.empty()
                               ? absl::StrCat("pid ", qemu.pid)
                               : absl::StrCat(arguments.name, " (pid ", qemu.pid, ")"),
                           absl::StrCat(qemu.pid), arguments.name};
  exam->explained()->insert(qemu.pid);
  const auto followed = absl::c_find_if(
      exam->facts().vms, [&](const v1::Vm& one) { return one.ref().pid() == qemu.pid; });
  const v1::Vm* const vm = followed == exam->facts().vms.end() ? nullptr : &*followed;
  if (arguments.traits.no_panic_device) HintAtPanicDevice(subject, qemu, vm, exam);
  const bool is_well = vm != nullptr && vm->problems().empty();
  if (is_well) ++exam->diagnosis()->followed;
  if (qemu.stopped()) {
    return exam->Add("hung-monitor", subject,
                     "This QEMU is stopped by a signal (state T), so its monitor does not answer.",
                     absl::StrCat("kill -CONT ", kWords));
  }
  if (!qemu.qemu->frozen_by.empty()) {
    return exam->Add(
        "hung-monitor", subject,
        absl::StrCat("This QEMU is frozen with its cgroup, ", qemu.qemu->frozen_by,
                     ", so its monitor does not answer: docker pause and systemctl freeze "
                     "do that."),
        ThawCommand(qemu));
  }
  if (qemu.qemu->dumps_core) {
    return exam->Add(
        "hung-monitor", subject,
        "This QEMU has crashed, and the kernel writes its core: it ends once that is done.",
        absl::StrCat("grep CoreDumping /proc/", qemu.pid, "/status"));
  }
  if (is_well) return;
  if (!qemu.qemu->sees_network) {
    return exam->Add(
        "namespace", subject,
        "The sockets of this QEMU cannot be seen from here. Paste the line on the host, as "
        "root and outside of any container.",
        absl::StrCat(exam->facts().client, " doctor"));
  }
  const Manager* const manager = ManagerOf(qemu.arguments, qemu.cgroups);
  if (vm != nullptr && SharesPath(*vm)) {
    ++exam->diagnosis()->followed;
    return AddSharedPath(subject, exam->VmNameOf(vm->monitor_path()), vm->monitor_path(),
                         ProblemsText(*vm), qemu, manager, exam);
  }
  if (const v1::UnfollowedSocket* const hidden =
          vm == nullptr ? HiddenAs(exam->facts(), arguments) : nullptr) {
    return AddSharedPath(subject, exam->VmNameOf(hidden->path()), hidden->path(),
                         hidden->problem().text(), qemu, manager, exam);
  }
  const std::vector<Monitor> monitors = MonitorsOf(*exam, qemu, arguments, manager, vm);
  if (monitors.empty() && vm == nullptr) {
    if (manager != nullptr && IsLibvirt(*manager))
      return FollowLibvirt(subject, qemu, *manager, exam);
    return AddOwnMonitor("no-monitor", subject,
                         "This QEMU has no QMP socket, so vmeventd cannot follow it.", qemu,
                         manager, "", exam);
  }
  for (const Monitor& monitor : monitors) {
    if (vm != nullptr || !monitor.held) continue;
    if (IsDaemon(monitor.client)) return void(++exam->diagnosis()->followed_elsewhere);
    // The holder may be a vmeventd: DiagnoseRights() adds the finding.
    if (monitor.client == nullptr && !exam->facts().is_root) return;
  }
  Finding obstacle;
  bool is_free = false;
  for (const Monitor& monitor : monitors) {
    if (is_free || !IsWatched(*exam, monitor)) continue;
    obstacle = ObstacleAt(*exam, monitor, vm);
    is_free = obstacle.kind.empty();
  }
  if (!obstacle.kind.empty()) {
    exam->Add(obstacle.kind, {absl::StrCat(subject.text, " ", obstacle.subjects[0]), subject.word},
              obstacle.what, obstacle.steps);
  } else if (vm != nullptr) {
    ++exam->diagnosis()->followed;
    exam->explained()->erase(qemu.pid);  // added by DiagnoseReportedVms()
  } else if (is_free) {
    ++exam->diagnosis()->usable;
  } else {
    AddUnwatched(subject, qemu, manager, monitors, exam);
  }
}

}  // namespace vmeventd::client
