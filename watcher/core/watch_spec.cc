#include "watcher/core/watch_spec.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "watcher/core/manager_sockets.h"

namespace vmeventd {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("watch \"", text, "\": ", rule));
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

}  // namespace vmeventd
