#include "watcher/core/specs.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/unix_address.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": ", rule));
}

struct Manager {
  // The monitors' directory; '*' is any part of a component, a leading "*/" any number of them.
  // /var/run stands for /run.
  absl::string_view directory;
  absl::string_view socket;  // the monitor's file name; of a VM, where each has its own
  absl::string_view owner;
  absl::string_view hint;
};

constexpr absl::string_view kProxmoxHint =
    "give each VM a monitor of its own with qm set VMID --args, and watch its directory";
constexpr absl::string_view kLibvirtHint = "follow libvirt instead: --libvirt qemu:///system";
constexpr absl::string_view kIncusHint =
    "give each VM a monitor of its own with raw.qemu, and watch its name instead";

constexpr absl::string_view kGanetiDirectory = "/run/ganeti/kvm-hypervisor/ctrl";

constexpr Manager kManagers[] = {
    {"/run/qemu-server", "100.qmp", "Proxmox VE's qm", kProxmoxHint},
    {kGanetiDirectory, "vm.qmp", "Ganeti",
     "watch the pattern *.kvmd there, which Ganeti makes for a follower"},
    {"/var/lib/libvirt/qemu/domain-*", "monitor.sock", "libvirt", kLibvirtHint},
    {"/var/lib/libvirt/qemu", "vm.monitor", "libvirt", kLibvirtHint},
    {"/run/libvirt/qemu/domain-*", "monitor.sock", "libvirt", kLibvirtHint},
    {"/run/libvirt/qemu", "vm.monitor", "libvirt", kLibvirtHint},
    {"*/libvirt/qemu/lib/domain-*", "monitor.sock", "libvirt",
     "follow libvirt instead: --libvirt qemu:///session"},
    {"*/libvirt/qemu/run/domain-*", "monitor.sock", "libvirt",
     "follow libvirt instead: --libvirt qemu:///session"},
    {"/run/incus/*", "qemu.monitor", "Incus", kIncusHint},
    {"/var/log/incus/*", "qemu.monitor", "Incus", kIncusHint},
    {"/run/lxd/*", "qemu.monitor", "LXD", kIncusHint},
    {"/var/log/lxd/*", "qemu.monitor", "LXD", kIncusHint},
    {"/var/snap/lxd/common/lxd/logs/*", "qemu.monitor", "LXD", kIncusHint},
};

// The text that the '*' of `pattern` stands for in `name`; a pattern without one stands for itself.
// Unset where they do not match or that text would be empty.
std::optional<absl::string_view> MatchStar(absl::string_view pattern, absl::string_view name) {
  const size_t star = pattern.find('*');
  if (star == absl::string_view::npos) return name == pattern ? std::optional(name) : std::nullopt;
  if (name.size() < pattern.size() || !absl::ConsumePrefix(&name, pattern.substr(0, star)) ||
      !absl::ConsumeSuffix(&name, pattern.substr(star + 1))) {
    return std::nullopt;
  }
  return name;
}

// Returns whether a name may match both, each of which may have one '*'.
bool ComponentMatches(absl::string_view a, absl::string_view b) {
  if (!absl::StrContains(a, '*')) return MatchStar(b, a).has_value();
  if (!absl::StrContains(b, '*')) return MatchStar(a, b).has_value();
  const std::pair<absl::string_view, absl::string_view> of_a = absl::StrSplit(a, '*');
  const std::pair<absl::string_view, absl::string_view> of_b = absl::StrSplit(b, '*');
  const size_t begin = std::min(of_a.first.size(), of_b.first.size());
  const size_t end = std::min(of_a.second.size(), of_b.second.size());
  return of_a.first.substr(0, begin) == of_b.first.substr(0, begin) &&
         of_a.second.substr(of_a.second.size() - end) ==
             of_b.second.substr(of_b.second.size() - end);
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
  }
  return absl::c_equal(wanted, found, ComponentMatches);
}

// Returns whether the watch may match the socket. A VM's own part of the name may be any, so that
// only the end of the name counts there.
bool TakesSocket(const WatchSpec& watch, absl::string_view socket) {
  if (watch.TakesFile(socket)) return true;
  const size_t dot = socket.rfind('.');
  const absl::string_view stem = socket.substr(0, dot);
  const bool any_name = stem == "vm" || stem == "100";
  return any_name && watch.pattern.substr(watch.pattern.find('*') + 1) == socket.substr(dot);
}

// libvirt

constexpr char kForms[] =
    "it must be qemu:///system, qemu:///session, qemu+unix:///system?socket=PATH, "
    "qemu+unix:///session?socket=PATH, lxc:///system or lxc+unix:///system?socket=PATH";

absl::Status Wrong(absl::string_view uri, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("\"", uri, "\": ", why));
}

// A URI's path keeps these bytes as they are (RFC 3986: unreserved, and what a query may hold of
// the rest).
bool IsPlain(char byte) {
  return absl::ascii_isalnum(static_cast<unsigned char>(byte)) ||
         absl::StrContains("-._~/:@!$'()*,;", byte);
}

std::string PercentEncode(absl::string_view path) {
  std::string text;
  for (const char byte : path) {
    if (IsPlain(byte)) {
      text += byte;
    } else {
      absl::StrAppendFormat(&text, "%%%02X", static_cast<unsigned char>(byte));
    }
  }
  return text;
}

absl::string_view Driver(const LibvirtSpec& spec) { return spec.containers ? "lxc" : "qemu"; }
absl::string_view Kind(const LibvirtSpec& spec) { return spec.session ? "session" : "system"; }

}  // namespace

std::string WatchSpec::root() const {
  const size_t star = directory.find('*');
  if (star == std::string::npos) return directory;
  const size_t slash = directory.rfind('/', star);
  return slash == 0 ? "/" : directory.substr(0, slash);
}

std::string WatchSpec::PathOf(absl::string_view below) const {
  return absl::StrCat(absl::StripSuffix(root(), "/"), "/", below);
}

bool WatchSpec::names_monitors() const {
  return absl::EndsWith(pattern, ".qmp") || absl::EndsWith(pattern, ".kvmd");
}

bool WatchSpec::TakesFile(absl::string_view file_name) const {
  return MatchStar(pattern, file_name).has_value();
}

std::optional<std::string> WatchSpec::VmName(absl::string_view path) const {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return std::nullopt;
  const auto in_file = MatchStar(pattern, path.substr(slash + 1));
  const auto in_directory = MatchStar(directory, path.substr(0, std::max(slash, size_t{1})));
  if (!in_file.has_value() || !in_directory.has_value()) return std::nullopt;
  if (!has_directories()) return std::string(*in_file);
  if (absl::StrContains(*in_directory, '/')) return std::nullopt;
  return std::string(*in_directory);
}

std::optional<std::string> WatchSpec::DirectoryOf(absl::string_view entry) const {
  const std::string before = PathOf("");
  const absl::string_view rest = absl::string_view(directory).substr(before.size());
  const size_t end = std::min(rest.find('/'), rest.size());
  if (!MatchStar(rest.substr(0, end), entry).has_value()) return std::nullopt;
  return absl::StrCat(before, entry, rest.substr(end));
}

absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text) {
  absl::string_view directory = text;
  std::optional<absl::string_view> pattern;
  // The pattern has no slash, so a colon in a directory's name does no harm unless it is in the
  // last component: "DIR/:*.kvmd" says what is meant there.
  const size_t colon = text.rfind(':');
  if (colon != absl::string_view::npos && !absl::StrContains(text.substr(colon), '/')) {
    directory = text.substr(0, colon);
    pattern = text.substr(colon + 1);
  }
  if (!absl::StartsWith(directory, "/")) {
    return Invalid(text, "the directory must be an absolute path, as in /run/qemu:*.qmp");
  }
  if (!pattern.has_value() && absl::StrContains(directory, '*')) {
    const size_t slash = directory.rfind('/');
    pattern = directory.substr(slash + 1);
    directory = directory.substr(0, std::max(slash, size_t{1}));
    if (!absl::StrContains(directory, '*')) {
      return Invalid(text,
                     absl::StrCat("a colon must separate the directory and the pattern: write \"",
                                  directory, ":", *pattern, "\""));
    }
  }
  const auto stars = std::count(directory.begin(), directory.end(), '*');
  if (stars > 1) {
    return Invalid(text,
                   "a directory takes one '*', which stands for the VM's name, as in "
                   "/run/vms/*/qmp.sock");
  }
  WatchSpec spec;
  for (const absl::string_view part : absl::StrSplit(directory, '/', absl::SkipEmpty())) {
    if (part == "..") return Invalid(text, "the directory must not contain \"..\"");
    if (part != ".") absl::StrAppend(&spec.directory, "/", part);
  }
  if (spec.directory.empty()) spec.directory = "/";
  if (!pattern.has_value()) {
    pattern = DirectoryMatches(kGanetiDirectory, spec.directory) ? "*.kvmd" : "*.qmp";
  }
  const std::vector<absl::string_view> halves = absl::StrSplit(*pattern, '*');
  const bool one_file = stars == 1 && halves.size() == 1 && !halves[0].empty();
  if (halves.size() != 2 && !one_file) {
    return Invalid(text, stars == 1
                             ? "the socket's file name must follow the directory, as in "
                               "/run/vms/*/qmp.sock or /run/vms/*:*.sock"
                             : "the pattern must have exactly one '*', which stands for the VM's "
                               "name, as in *.qmp");
  }
  for (const absl::string_view half : halves) {
    if (absl::StrContains(half, '?') || absl::StrContains(half, '[')) {
      return Invalid(text, "'*' is the only wildcard of a pattern: remove '?' and '['");
    }
  }
  spec.pattern = std::string(*pattern);
  return spec;
}

WatchSpec GanetiIfThere() {
  WatchSpec spec = ParseWatchSpec(kGanetiControlDirectory).value();
  spec.optional = true;
  return spec;
}

std::optional<ManagerMonitor> FindManagerMonitor(const WatchSpec& watch) {
  for (const Manager& manager : kManagers) {
    if (!DirectoryMatches(manager.directory, watch.directory)) continue;
    if (!TakesSocket(watch, manager.socket)) continue;
    return ManagerMonitor{absl::StrCat(watch.directory, "/", manager.socket),
                          std::string(manager.owner), std::string(manager.hint)};
  }
  return std::nullopt;
}

bool LibvirtSpec::has_glob() const { return IsGlob(socket); }

std::string LibvirtSpec::UriAt(absl::string_view path) const {
  return absl::StrCat(Driver(*this), "+unix:///", Kind(*this), "?socket=", PercentEncode(path));
}

std::string LibvirtSpec::Uri() const { return socket.empty() ? ToFlag() : UriAt(socket); }

std::string LibvirtSpec::ToFlag() const {
  if (socket.empty()) return absl::StrCat(Driver(*this), ":///", Kind(*this));
  return absl::StrCat(Driver(*this), "+unix:///", Kind(*this), "?socket=", socket);
}

absl::StatusOr<LibvirtSpec> ParseLibvirtUri(absl::string_view uri) {
  if (!IsValidUtf8(uri)) return absl::InvalidArgumentError("a libvirt URI that is not UTF-8");
  LibvirtSpec spec;
  absl::string_view rest = uri;
  spec.containers = absl::ConsumePrefix(&rest, "lxc");
  if (!spec.containers && !absl::ConsumePrefix(&rest, "qemu")) {
    return Wrong(uri, absl::StrCat("vmeventd follows the QEMUs of this node: ", kForms));
  }
  const bool by_socket = absl::ConsumePrefix(&rest, "+unix");
  if (!absl::ConsumePrefix(&rest, "://")) return Wrong(uri, kForms);
  if (!absl::StartsWith(rest, "/")) {
    return Wrong(uri, absl::StrCat("another host's libvirt cannot be followed: ", kForms));
  }
  std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(rest, absl::MaxSplits('?', 1));
  auto& [path, query] = halves;
  if (path != "/system" && path != "/session") return Wrong(uri, kForms);
  spec.session = path == "/session";
  if (spec.session && spec.containers) {
    return Wrong(uri, "libvirt has containers only in its system instance: write lxc:///system");
  }
  if (query.empty()) return spec;
  if (!by_socket || !absl::ConsumePrefix(&query, "socket=") || absl::StrContains(query, '&')) {
    return Wrong(uri, kForms);
  }
  if (!absl::StartsWith(query, "/")) {
    return Wrong(uri,
                 "the socket's path must be absolute, as in ?socket=/run/libvirt/libvirt-sock");
  }
  for (const absl::string_view part : absl::StrSplit(query.substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") {
      return Wrong(uri, "the socket's path must have no empty part, no \".\" and no \"..\"");
    }
  }
  spec.socket = std::string(query);
  const std::string refusal = UnixAddress::Refusal(spec.socket);
  if (!spec.has_glob() && !refusal.empty()) return Wrong(uri, refusal);
  return spec;
}

LibvirtSpec SystemLibvirtIfThere() {
  return {.awaited = {"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}};
}

bool IsContainerUri(absl::string_view uri) { return absl::StartsWith(uri, "lxc"); }

std::string DomainSource(absl::string_view uri) { return absl::StrCat("libvirt:", uri); }

}  // namespace vmeventd
