#include "client/doctor/monitor_paths.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/doctor/file_text.h"
#include "watcher/core/ganeti_directory.h"
#include "watcher/core/managers.h"

namespace vmeventd::client {
namespace {

constexpr absl::string_view kExtraMonitor = "extra-monitor.sock";

// `text` with a '*' in place of the VM's name, where that is a word of its own there.
std::string WithStar(absl::string_view text, absl::string_view name) {
  const size_t at = name.empty() ? text.npos : text.find(name);
  const size_t end = at + name.size();
  const bool is_word = at != text.npos && (at == 0 || !absl::ascii_isalnum(text[at - 1])) &&
                       (end == text.size() || !absl::ascii_isalnum(text[end]));
  return is_word ? absl::StrCat(text.substr(0, at), "*", text.substr(end)) : std::string(text);
}

}  // namespace

WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many) {
  const absl::string_view directory = path.substr(0, std::max(path.rfind('/'), size_t{1}));
  const absl::string_view above = DirectoryOf(directory);
  const absl::string_view file = FileOf(path);
  // Kata has its own monitor in addition to it.
  if (file == kExtraMonitor) return {absl::StrCat(above, "*"), std::string(file)};
  WatchSpec spec = {absl::StrCat(above, WithStar(FileOf(directory), name)), WithStar(file, name)};
  if (spec.has_directories() || absl::StrContains(spec.pattern, '*')) return spec;
  if (of_many && !above.empty() && directory != "/") {
    spec.directory = absl::StrCat(above, "*");
  } else {
    spec.pattern = absl::StrCat("*", file.substr(std::min(file.rfind('.'), file.size())));
  }
  return spec;
}

bool IsForFollowers(absl::string_view path) {
  return absl::EndsWith(path, ".qmp") || absl::EndsWith(path, kGanetiMonitorSuffix) ||
         FileOf(path) == kExtraMonitor;
}

bool MayPropose(const WatchSpec& watch) {
  const auto read = ParseWatchSpec(watch.text());
  return read.ok() && read->directory == watch.directory && read->pattern == watch.pattern &&
         !FindManagerMonitors(watch).has_value() && FileHolds(watch.text());
}

}  // namespace vmeventd::client
