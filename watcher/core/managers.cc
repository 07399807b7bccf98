#include "watcher/core/managers.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/star_pattern.h"
#include "watcher/core/given_value.h"

namespace vmeventd {
namespace {

using Arguments = std::vector<std::string>;

constexpr Manager kManagers[] = {
    {ManagerId::kProxmox, "Proxmox VE", "for qm and its API",
     "give each VM a monitor of its own with qm set VMID --args, and watch its directory"},
    {ManagerId::kGaneti, "Ganeti", "for its commands",
     "watch the pattern *.kvmd there, which Ganeti makes for a follower"},
    {ManagerId::kLibvirt, "libvirt", "for all that it does with the domain",
     "follow libvirt instead: --libvirt qemu:///system"},
    {ManagerId::kLibvirtSession, "libvirt", "for all that it does with the domain",
     "follow libvirt instead: --libvirt qemu:///session, or for another user's "
     "--libvirt qemu+unix:///session?socket=/run/user/UID/libvirt/libvirt-sock"},
    {ManagerId::kIncus, "Incus", "for all that it does with the VM",
     "give each VM a monitor of its own with raw.qemu, and watch its name instead"},
    {ManagerId::kLxd, "LXD", "for all that it does with the VM",
     "give each VM a monitor of its own with raw.qemu, and watch its name instead"},
    {ManagerId::kMicrovm, "microvm.nix", "to stop the VM",
     "give each VM a monitor of its own with microvm.qemu.extraArgs, and watch its directory"},
    {ManagerId::kLima, "lima", "to stop the VM",
     "start the VM with QEMU_SYSTEM_X86_64='qemu-system-x86_64 ARGUMENTS', where the arguments add "
     "a monitor, and watch its directory"},
    {ManagerId::kMinikube, "minikube", "for the status and the stop of the VM",
     "its QEMUs cannot get a second one, so its VMs cannot be followed"},
    {ManagerId::kPodmanMachine, "podman machine", "to stop the VM",
     "its QEMUs cannot get a second one, so its VMs cannot be followed"},
    {ManagerId::kKata, "Kata Containers", "to add devices and to stop the VM",
     "set extra_monitor_socket = \"qmp\" in Kata's configuration, and watch "
     "/run/vc/vm/*:extra-monitor.sock"},
    {ManagerId::kXen, "Xen's libxl", "for all that it does with the domain",
     "the end of this QEMU is not its domain's, so Xen's domains cannot be followed"},
    {ManagerId::kEve, "EVE-OS", "for the state and the stop of the VM",
     "its QEMUs cannot get a second one, so its VMs cannot be followed"},
    {ManagerId::kNasty, "NASty", "for the state and the stop of the VM",
     "its QEMUs cannot get a second one, so its VMs cannot be followed"},
    {ManagerId::kPacker, "packer", "while it builds",
     "give the VM a monitor of its own with qemuargs, and watch its directory"},
};

struct OwnMonitor {
  ManagerId manager;
  // The monitors' directory; '*' is any part of a component, a leading "*/" any number of them.
  // /var/run stands for /run.
  absl::string_view directory;
  absl::string_view socket;  // the monitor's file name, with at most one '*'
};

constexpr OwnMonitor kOwnMonitors[] = {
    {ManagerId::kProxmox, "*/run/qemu-server", "*.qmp"},
    {ManagerId::kGaneti, "*/run/ganeti/kvm-hypervisor/ctrl", "*.qmp"},
    {ManagerId::kLibvirt, "/var/lib/libvirt/qemu/domain-*", "monitor.sock"},
    {ManagerId::kLibvirt, "/var/lib/libvirt/qemu", "*.monitor"},
    {ManagerId::kLibvirt, "/run/libvirt/qemu/domain-*", "monitor.sock"},
    {ManagerId::kLibvirt, "/run/libvirt/qemu", "*.monitor"},
    {ManagerId::kLibvirtSession, "*/libvirt/qemu/lib/domain-*", "monitor.sock"},
    {ManagerId::kLibvirtSession, "*/libvirt/qemu/run/domain-*", "monitor.sock"},
    {ManagerId::kIncus, "/run/incus/*", "qemu.monitor"},
    {ManagerId::kIncus, "/var/log/incus/*", "qemu.monitor"},
    {ManagerId::kLxd, "/run/lxd/*", "qemu.monitor"},
    {ManagerId::kLxd, "/var/log/lxd/*", "qemu.monitor"},
    {ManagerId::kLxd, "/var/snap/lxd/common/lxd/logs/*", "qemu.monitor"},
    {ManagerId::kMicrovm, "/var/lib/microvms/*", "*.sock"},
    {ManagerId::kLima, "*/.lima/*", "qmp.sock"},
    {ManagerId::kMinikube, "*/.minikube/machines/*", "monitor"},
    {ManagerId::kPodmanMachine, "*/podman", "qmp_*.sock"},
    {ManagerId::kKata, "*/run/vc/vm/*", "qmp.sock"},
    {ManagerId::kXen, "*/run/xen", "qmp-libxl-*"},
    {ManagerId::kXen, "*/run/xen", "qmp-libxenstat-*"},
    {ManagerId::kXen, "*/run/xen", "qmp-event-*"},
    {ManagerId::kEve, "*/run/hypervisor/kvm/*", "*qmp"},
    {ManagerId::kNasty, "*/run/nasty/vm", "*.qmp"},
    {ManagerId::kPacker, "*/output-*", "*.monitor"},
};

const Manager& Find(ManagerId id) {
  return *absl::c_find_if(kManagers, [id](const Manager& one) { return one.id == id; });
}

// Returns whether a directory may match both the manager's pattern and `watched`.
bool DirectoryMatches(absl::string_view pattern, absl::string_view watched) {
  std::vector<absl::string_view> wanted = absl::StrSplit(pattern, '/', absl::SkipEmpty());
  std::vector<absl::string_view> found = absl::StrSplit(watched, '/', absl::SkipEmpty());
  if (absl::StartsWith(watched, "/var/run/")) found.erase(found.begin());
  if (absl::ConsumePrefix(&pattern, "*/")) {
    wanted.erase(wanted.begin());
    if (found.size() < wanted.size()) return false;
    found.erase(found.begin(), found.end() - static_cast<std::ptrdiff_t>(wanted.size()));
    // A '*' may stand for any program's directory: the QEMU behind the socket decides there.
    if (!absl::StartsWith(found[0], wanted[0].substr(0, wanted[0].find('*')))) return false;
  }
  return absl::c_equal(wanted, found, StarsOverlap);
}

absl::string_view FileOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// What managers' QEMUs have on their command lines, and where they run.

bool AnyHas(const Arguments& arguments, absl::string_view text) {
  return absl::c_any_of(arguments,
                        [text](const std::string& one) { return absl::StrContains(one, text); });
}

// The path of the first monitor whose file name matches the pattern; empty: there is none.
std::string MonitorNamed(const Arguments& arguments, absl::string_view pattern) {
  for (const QmpMonitor& monitor : ParseQemuArguments(arguments).monitors) {
    if (MatchStar(pattern, FileOf(monitor.path)).has_value()) return monitor.path;
  }
  return "";
}

// Returns whether the cgroup is that of a VM of Proxmox VE, such as "/qemu.slice/100.scope" for VM
// 100.
bool IsInSliceOfProxmox(absl::string_view cgroups) {
  return absl::StrContains(cgroups, "/qemu.slice/");
}

// Returns whether the QEMU is packer's, which makes NAME.monitor in the directory of NAME, the disk
// that it builds.
bool IsPackers(const Arguments& arguments) {
  const std::string monitor = MonitorNamed(arguments, "*.monitor");
  const absl::string_view disk = absl::StripSuffix(monitor, ".monitor");
  return !disk.empty() && FileOf(disk) == GivenValue(arguments, "-name") &&
         AnyHas(arguments, absl::StrCat("file=", disk));
}

bool IsOf(ManagerId manager, const Arguments& arguments, absl::string_view cgroups) {
  switch (manager) {
    case ManagerId::kProxmox:
      return AnyHas(arguments, "/run/qemu-server/") || IsInSliceOfProxmox(cgroups);
    case ManagerId::kGaneti:
      return AnyHas(arguments, "/ganeti/kvm-hypervisor/");
    case ManagerId::kLibvirt:
      return AnyHas(arguments, "/var/lib/libvirt/qemu/domain-");
    case ManagerId::kLibvirtSession:
      // Its monitor is a descriptor; Cuttlefish, which uses the same id, names a path.
      return AnyHas(arguments, "id=charmonitor,fd=") ||
             AnyHas(arguments, "/libvirt/qemu/lib/domain-");
    case ManagerId::kIncus:
      return absl::StrContains(GivenValue(arguments, "-readconfig"), "/incus/");
    case ManagerId::kLxd:
      return absl::StrContains(GivenValue(arguments, "-readconfig"), "/lxd/");
    case ManagerId::kMicrovm:
      // Its arguments call the monitor "NAME.sock", in the directory in which it runs.
      return absl::StrContains(cgroups, "/microvm@") ||
             (AnyHas(arguments, "microvm") &&
              MonitorNamed(arguments, "*.sock") ==
                  absl::StrCat(GivenValue(arguments, "-name"), ".sock"));
    case ManagerId::kLima:
      return absl::StartsWith(GivenValue(arguments, "-name"), "lima-") &&
             !MonitorNamed(arguments, "qmp.sock").empty();
    case ManagerId::kMinikube:
      return AnyHas(arguments, "boot2docker.iso") && !MonitorNamed(arguments, "monitor").empty();
    case ManagerId::kPodmanMachine:
      return !MonitorNamed(arguments, "qmp_*.sock").empty() &&
             (AnyHas(arguments, "_ready") || AnyHas(arguments, "/podman/"));
    case ManagerId::kKata:
      return absl::StartsWith(GivenValue(arguments, "-name"), "sandbox-") &&
             (AnyHas(arguments, "/run/vc/") || AnyHas(arguments, "kata"));
    case ManagerId::kXen:
      return absl::c_linear_search(arguments, "-xen-domid");
    case ManagerId::kEve:
      return AnyHas(arguments, "/run/hypervisor/kvm/");
    case ManagerId::kNasty:
      return AnyHas(arguments, "/run/nasty/vm/");
    case ManagerId::kPacker:
      return IsPackers(arguments);
  }
  return false;
}

}  // namespace

std::optional<ManagerMonitors> FindManagerMonitors(const WatchSpec& watch) {
  for (const OwnMonitor& own : kOwnMonitors) {
    if (!DirectoryMatches(own.directory, watch.directory)) continue;
    if (!StarsOverlap(own.socket, watch.pattern)) continue;
    return ManagerMonitors{&Find(own.manager), absl::StrCat(watch.directory, "/", own.socket)};
  }
  return std::nullopt;
}

const Manager* OwnerOfPath(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return nullptr;
  for (const OwnMonitor& own : kOwnMonitors) {
    if (!DirectoryMatches(own.directory, path.substr(0, slash))) continue;
    if (MatchStar(own.socket, path.substr(slash + 1)).has_value()) return &Find(own.manager);
  }
  return nullptr;
}

const Manager* ManagerOf(const Arguments& arguments, absl::string_view cgroups) {
  if (arguments.empty()) return nullptr;
  const auto* const found = absl::c_find_if(
      kManagers, [&](const Manager& one) { return IsOf(one.id, arguments, cgroups); });
  return found == std::end(kManagers) ? nullptr : found;
}

const Manager* OwnerOf(const Manager* manager, const std::vector<QmpMonitor>& monitors,
                       size_t index) {
  const std::string& path = monitors[index].path;
  if (const Manager* const owner = OwnerOfPath(path)) return owner;
  if (manager == nullptr) return nullptr;
  for (const OwnMonitor& own : kOwnMonitors) {
    if (own.manager != manager->id) continue;
    const auto first = absl::c_find_if(monitors, [&own](const QmpMonitor& one) {
      return MatchStar(own.socket, FileOf(one.path)).has_value();
    });
    if (first != monitors.end() && first->path == path) return manager;
  }
  return nullptr;
}

std::string Refusal(const Manager& manager) {
  return absl::StrCat("belongs to ", manager.name, ", which needs it ", manager.need,
                      ", and a monitor serves one client: ", manager.way);
}

}  // namespace vmeventd
