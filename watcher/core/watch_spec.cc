#include "watcher/core/watch_spec.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/quote.h"
#include "base/star_pattern.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/managers.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": ", rule));
}

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
  return absl::EndsWith(pattern, ".qmp") || absl::EndsWith(pattern, kGanetiMonitorSuffix);
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
  // last component: "DIR/:*.kvmd" is unambiguous there.
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
  std::string usual;  // the text of `pattern` if none is given
  if (!pattern.has_value()) {
    usual =
        absl::StrCat("*", IsGanetiControlDirectory(spec.directory) ? kGanetiMonitorSuffix : ".qmp");
    pattern = usual;
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

WatchSpec OptionalGanetiWatch() {
  WatchSpec spec = ParseWatchSpec(kGanetiControlDirectory).value();
  spec.optional = true;
  return spec;
}

namespace {

// The monitors of a manager that `watch` matches, by its path as written or with symbolic links
// resolved.
std::optional<ManagerMonitors> MonitorsTakenBy(WatchSpec watch,
                                               std::string (*real_path)(const std::string& path)) {
  std::optional<ManagerMonitors> named = FindManagerMonitors(watch);
  if (named.has_value()) return named;
  watch.directory = real_path(watch.directory);
  // Each socket of the directory is checked again before vmeventd connects to it.
  if (watch.directory.empty()) return std::nullopt;
  return FindManagerMonitors(watch);
}

absl::Status CheckWatches(const SourceSpecs& specs,
                          std::string (*real_path)(const std::string& path)) {
  if (specs.watch_manager_sockets) return absl::OkStatus();
  for (const WatchSpec& watch : specs.watches) {
    const std::optional<ManagerMonitors> monitors = MonitorsTakenBy(watch, real_path);
    if (!monitors.has_value()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(watch.text()), " would take a monitor, ", monitors->sockets, ", that ",
                     Refusal(*monitors->manager), " (docs/connect.md), or permit it with --",
                     kWatchManagerSocketsSetting.name));
  }
  return absl::OkStatus();
}

}  // namespace

constinit const SourceSetting kWatchSetting = {
    .name = "watch",
    .argument = "DIR[:PATTERN]",
    .help =
        "Follow the QMP sockets in DIR whose name matches PATTERN, in which one * stands for "
        "the VM's name (by default *.qmp, in Ganeti's directory *.kvmd). If each VM has a "
        "directory of its own, write /run/vms/*/qmp.sock. Repeatable",
    .foreign_words = "-w --dir --directory --path --qmp --monitor --sockets --glob",
    .replaced_pattern =
        "the shell has replaced the pattern of --watch by the sockets; quote it, as in --watch "
        "'/run/vms/*/qmp.sock'",
    .read = [](const std::vector<std::string>& texts,
               SourceSpecs* specs) { return ReadEach(texts, ParseWatchSpec, &specs->watches); },
    .print = [](const SourceSpecs& specs) { return TextOfEach(specs.watches, &WatchSpec::text); },
    .directories =
        [](const SourceSpecs& specs) { return TextOfEach(specs.watches, &WatchSpec::root); },
    .instead_of_socket =
        "its directory and a pattern, in quotes: '/run/vms:*.qmp' or "
        "'/run/vms/*/qmp.sock'",
    .check = CheckWatches,
    .by_default =
        SourceSetting::Default{
            .name = "Ganeti",
            .place = "Ganeti's directory",
            .vms = "Ganeti's VMs",
            .add = [](SourceSpecs* specs) { specs->watches.push_back(OptionalGanetiWatch()); }},
    .examples = SourceSetting::Examples{.value = "/run/vms:*.qmp",
                                        .what = "every socket NAME.qmp in /run/vms",
                                        .other = "/srv/vms"},
};

constinit const SourceSetting kWatchManagerSocketsSetting = {
    .name = "watch-manager-sockets",
    .help =
        "Permit a --watch that takes a VM manager's own monitor (libvirt, Proxmox VE, lima and "
        "others): the manager can no longer control its VMs",
    .read = [](const std::vector<std::string>& texts, SourceSpecs* specs) -> absl::Status {
      specs->watch_manager_sockets = texts.back() == "true";
      return absl::OkStatus();
    },
    .print =
        [](const SourceSpecs& specs) {
          return specs.watch_manager_sockets ? std::vector<std::string>{"true"}
                                             : std::vector<std::string>();
        },
};

}  // namespace vmeventd
