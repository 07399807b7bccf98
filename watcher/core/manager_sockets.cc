#include "watcher/core/manager_sockets.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

struct Manager {
  // Components of the monitors' directory: "*" is any one, "x-*" any that begins with "x-", a
  // leading "**" any number of them. /var/run stands for /run.
  absl::string_view directory;
  absl::string_view socket;  // the monitor's file name; of a VM, where each has its own
  absl::string_view owner;
  absl::string_view cure;
};

constexpr absl::string_view kProxmoxCure =
    "give each VM a monitor of its own with qm set VMID --args, and watch its directory";
constexpr absl::string_view kLibvirtCure = "follow libvirt instead: --libvirt qemu:///system";
constexpr absl::string_view kIncusCure =
    "give each VM a monitor of its own with raw.qemu, and watch its name instead";

constexpr Manager kManagers[] = {
    {"/run/qemu-server", "100.qmp", "Proxmox VE's qm", kProxmoxCure},
    {"/run/ganeti/kvm-hypervisor/ctrl", "vm.qmp", "Ganeti",
     "watch the pattern *.kvmd there, which Ganeti makes for a follower"},
    {"/var/lib/libvirt/qemu/domain-*", "monitor.sock", "libvirt", kLibvirtCure},
    {"/var/lib/libvirt/qemu", "vm.monitor", "libvirt", kLibvirtCure},
    {"/run/libvirt/qemu/domain-*", "monitor.sock", "libvirt", kLibvirtCure},
    {"/run/libvirt/qemu", "vm.monitor", "libvirt", kLibvirtCure},
    {"**/libvirt/qemu/lib/domain-*", "monitor.sock", "libvirt",
     "follow libvirt instead: --libvirt qemu:///session"},
    {"**/libvirt/qemu/run/domain-*", "monitor.sock", "libvirt",
     "follow libvirt instead: --libvirt qemu:///session"},
    {"/run/incus/*", "qemu.monitor", "Incus", kIncusCure},
    {"/var/log/incus/*", "qemu.monitor", "Incus", kIncusCure},
    {"/run/lxd/*", "qemu.monitor", "LXD", kIncusCure},
    {"/var/log/lxd/*", "qemu.monitor", "LXD", kIncusCure},
    {"/var/snap/lxd/common/lxd/logs/*", "qemu.monitor", "LXD", kIncusCure},
};

bool ComponentMatches(absl::string_view pattern, absl::string_view component) {
  return absl::ConsumeSuffix(&pattern, "*") ? absl::StartsWith(component, pattern)
                                            : component == pattern;
}

bool DirectoryMatches(absl::string_view pattern, absl::string_view directory) {
  std::vector<absl::string_view> wanted = absl::StrSplit(pattern, '/', absl::SkipEmpty());
  std::vector<absl::string_view> found = absl::StrSplit(directory, '/', absl::SkipEmpty());
  if (found.size() >= 2 && found[0] == "var" && found[1] == "run") found.erase(found.begin());
  if (!wanted.empty() && wanted.front() == "**") {
    wanted.erase(wanted.begin());
    if (found.size() < wanted.size()) return false;
    found.erase(found.begin(), found.end() - static_cast<std::ptrdiff_t>(wanted.size()));
  }
  if (wanted.size() != found.size()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!ComponentMatches(wanted[i], found[i])) return false;
  }
  return true;
}

// Returns whether the watch may match the socket. A VM's own part of the name may be any, so that
// only the end of the name counts there.
bool TakesSocket(const WatchSpec& watch, absl::string_view socket) {
  if (watch.VmName(socket).has_value()) return true;
  const size_t dot = socket.rfind('.');
  const absl::string_view stem = socket.substr(0, dot);
  const bool any_name = stem == "vm" || stem == "100";
  return any_name && watch.suffix == socket.substr(dot);
}

}  // namespace

std::string CureForManagersDirectory(absl::string_view directory) {
  for (const Manager& manager : kManagers) {
    if (!DirectoryMatches(manager.directory, directory)) continue;
    return absl::StrCat("the monitors in there are ", manager.owner, "'s: ", manager.cure);
  }
  return "";
}

std::optional<ManagerMonitor> FindManagerMonitor(const WatchSpec& watch) {
  for (const Manager& manager : kManagers) {
    if (!DirectoryMatches(manager.directory, watch.directory)) continue;
    if (!TakesSocket(watch, manager.socket)) continue;
    return ManagerMonitor{absl::StrCat(watch.directory, "/", manager.socket),
                          std::string(manager.owner), std::string(manager.cure)};
  }
  return std::nullopt;
}

}  // namespace vmeventd
