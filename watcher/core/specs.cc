#include "watcher/core/specs.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/glob.h"
#include "base/star_pattern.h"
#include "base/unix_address.h"
#include "base/utf8.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": ", rule));
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

// The settings that name something to follow, and the texts of what they name.
const struct SourceSetting {
  const char* name;
  std::vector<std::string> (*texts)(const SourceSpecs& specs);
} kSourceSettings[] = {
    {"watch",
     [](const SourceSpecs& specs) {
       std::vector<std::string> texts;
       for (const WatchSpec& watch : specs.watches) texts.push_back(watch.text());
       return texts;
     }},
    {"libvirt",
     [](const SourceSpecs& specs) {
       std::vector<std::string> texts;
       for (const LibvirtSpec& spec : specs.libvirts) texts.push_back("libvirt " + spec.ToFlag());
       return texts;
     }},
};

std::vector<std::string> TextsOf(const SourceSpecs& specs) {
  std::vector<std::string> all;
  for (const SourceSetting& setting : kSourceSettings) {
    for (std::string& text : setting.texts(specs)) all.push_back(std::move(text));
  }
  return all;
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
    pattern = IsGanetiControlDirectory(spec.directory) ? "*.kvmd" : "*.qmp";
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

bool IsGanetiControlDirectory(absl::string_view directory) {
  return absl::StripPrefix(directory, "/var") == absl::StripPrefix(kGanetiControlDirectory, "/var");
}

WatchSpec OptionalGanetiWatch() {
  WatchSpec spec = ParseWatchSpec(kGanetiControlDirectory).value();
  spec.optional = true;
  return spec;
}

std::string QmpSourceName(absl::string_view monitor_path) {
  const size_t slash = monitor_path.rfind('/');
  if (slash == absl::string_view::npos) return "qmp:";
  return absl::StrCat("qmp:", monitor_path.substr(0, std::max(slash, size_t{1})));
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

LibvirtSpec OptionalSystemLibvirt() {
  return {.awaited = {"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}};
}

bool IsContainerUri(absl::string_view uri) { return absl::StartsWith(uri, "lxc"); }

std::string DomainSource(absl::string_view uri) { return absl::StrCat("libvirt:", uri); }

// All sources

bool SourceSpecs::is_default() const { return TextsOf(*this).empty(); }

std::string SourceSpecs::text() const {
  return is_default() ? "libvirt and Ganeti if they exist" : absl::StrJoin(TextsOf(*this), ", ");
}

SourceSpecs SourceSpecs::Resolved() const {
  SourceSpecs specs = *this;
  if (is_default()) {
    specs.watches.push_back(OptionalGanetiWatch());
    specs.libvirts.push_back(OptionalSystemLibvirt());
  }
  return specs;
}

std::string DefaultSourcesText() {
  const auto append = [](std::string* out, const SourceSetting& setting) {
    absl::StrAppend(out, setting.name);
  };
  return absl::StrCat("neither ", absl::StrJoin(kSourceSettings, " nor ", append),
                      " is set: libvirt (qemu:///system) and Ganeti's directory are followed, each "
                      "as soon as it exists");
}

}  // namespace vmeventd
