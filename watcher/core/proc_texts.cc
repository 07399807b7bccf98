#include "watcher/core/proc_texts.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {

std::vector<std::string> SplitCommandLine(absl::string_view text) {
  absl::ConsumeSuffix(&text, absl::string_view("\0", 1));  // each argument ends with one
  if (text.empty()) return {};
  return absl::StrSplit(text, '\0');
}

std::string UnitOf(absl::string_view cgroups) {
  constexpr size_t kMaxBytes = 512;
  absl::string_view path;
  // cgroups(7): "ID:CONTROLLERS:PATH"; systemd's own hierarchy has no controller.
  for (const absl::string_view line : absl::StrSplit(cgroups, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3 || parts[2] == "/" || absl::StrContains(parts[2], "/..")) continue;
    if (parts[1].empty() ? path.empty() : parts[1] == "name=systemd") path = parts[2];
  }
  const auto printable = [](unsigned char c) { return absl::ascii_isgraph(c); };
  if (path.size() > kMaxBytes || !std::all_of(path.begin(), path.end(), printable)) return "";
  std::string unit(path);
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (absl::EndsWith(part, ".service") || absl::EndsWith(part, ".scope"))
      unit = std::string(part);
  }
  return unit;
}

std::string CoreOf(absl::string_view core_pattern, int64_t pid) {
  const std::string pattern = OneLine(absl::StripAsciiWhitespace(core_pattern));
  if (absl::StrContains(pattern, "systemd-coredump")) return absl::StrCat("coredumpctl info ", pid);
  if (absl::StartsWith(pattern, "|")) return absl::StrCat("with the program ", pattern.substr(1));
  std::string file = absl::StrReplaceAll(
      pattern, {{"%p", absl::StrCat(pid)}, {"%P", absl::StrCat(pid)}, {"%%", "%"}});
  if (absl::StartsWith(file, "/")) return file;
  return absl::StrCat(file.empty() ? "core" : file, " in QEMU's working directory");
}

absl::string_view ValueInLine(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, name)) return absl::StripAsciiWhitespace(line);
  }
  return "";
}

}  // namespace vmeventd
