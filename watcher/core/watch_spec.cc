#include "watcher/core/watch_spec.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("watch \"", text, "\": ", rule));
}

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
  return absl::c_equal(wanted, found, ComponentMatches);
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

std::optional<std::string> WatchSpec::VmName(absl::string_view file_name) const {
  if (file_name.size() <= prefix.size() + suffix.size()) return std::nullopt;
  if (!absl::StartsWith(file_name, prefix) || !absl::EndsWith(file_name, suffix)) {
    return std::nullopt;
  }
  file_name.remove_prefix(prefix.size());
  file_name.remove_suffix(suffix.size());
  return std::string(file_name);
}

absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text) {
  absl::string_view directory = text;
  absl::string_view pattern = kDefaultWatchPattern;
  // The pattern has no slash, so a colon in a directory's name does no harm unless it is in the
  // last component: "DIR/:*.kvmd" says what is meant there.
  const size_t colon = text.rfind(':');
  const bool has_pattern =
      colon != absl::string_view::npos && !absl::StrContains(text.substr(colon), '/');
  if (has_pattern) {
    directory = text.substr(0, colon);
    pattern = text.substr(colon + 1);
  }
  if (!absl::StartsWith(directory, "/")) {
    return Invalid(text, "the directory must be an absolute path, as in /run/qemu:*.qmp");
  }
  if (absl::StrContains(directory, '*')) {
    const size_t slash = directory.rfind('/');
    const bool in_name = directory.find('*') > slash;
    const std::string cure = CureForManagersDirectory(directory);
    if (!cure.empty()) return Invalid(text, cure);
    return Invalid(
        text, in_name && !has_pattern
                  ? absl::StrCat("a colon stands before the pattern: write \"",
                                 slash == 0 ? "/" : directory.substr(0, slash), ":",
                                 directory.substr(slash + 1), "\"")
                  : "a directory takes no '*', only the file's name behind the colon does: give "
                    "--watch once for each directory");
  }
  const std::vector<absl::string_view> halves = absl::StrSplit(pattern, '*');
  if (halves.size() != 2) {
    return Invalid(text,
                   "the pattern must have exactly one '*', which stands for the VM's name, "
                   "as in *.kvmd");
  }
  if (absl::StrContains(pattern, '?') || absl::StrContains(pattern, '[')) {
    return Invalid(text, "the pattern knows '*' alone: no '?' and no '['");
  }
  WatchSpec spec;
  spec.prefix = std::string(halves[0]);
  spec.suffix = std::string(halves[1]);
  for (const absl::string_view part : absl::StrSplit(directory, '/', absl::SkipEmpty())) {
    if (part == "..") return Invalid(text, "the directory must not contain \"..\"");
    if (part != ".") absl::StrAppend(&spec.directory, "/", part);
  }
  if (spec.directory.empty()) spec.directory = "/";
  return spec;
}

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
