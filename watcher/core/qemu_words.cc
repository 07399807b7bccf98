#include "watcher/core/qemu_words.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

// libvirt's line comes at most that long before the start of the process that it announces, and the
// kernel counts that start in ticks.
constexpr absl::Duration kStartSlack = absl::Seconds(5);
constexpr absl::Duration kStartError = absl::Milliseconds(500);

// "2026-01-31 12:00:00.123+0000: starting up libvirt version: ..." (qemuDomainLogContext): its
// time, and what follows that. Unset: the line is not libvirt's.
std::optional<absl::Time> TimeOfLibvirt(absl::string_view* line) {
  constexpr size_t kStamp = 28;
  absl::Time time;
  if (line->size() < kStamp + 2 || line->substr(kStamp, 2) != ": " ||
      !absl::ParseTime("%Y-%m-%d %H:%M:%E3S%z", line->substr(0, kStamp), &time, nullptr)) {
    return std::nullopt;
  }
  line->remove_prefix(kStamp + 2);
  return time;
}

bool IsOfLibvirt(absl::string_view line) { return TimeOfLibvirt(&line).has_value(); }

}  // namespace

LastWords WordsIn(absl::string_view text, WordsSource source) {
  LastWords words{.source = source};
  size_t bytes = 0;
  while (!text.empty()) {
    text = absl::StripTrailingAsciiWhitespace(text);
    const size_t begin = text.rfind('\n') + 1;  // npos + 1 is 0
    const absl::string_view line = text.substr(begin);
    text = text.substr(0, begin);
    if (line.empty() || IsOfLibvirt(line)) continue;
    const std::string escaped = OneLine(line.substr(0, kMaxWordBytes));
    const absl::string_view fits = Utf8Prefix(escaped, kMaxWordBytes);
    words.truncated = words.lines.size() == kMaxWordLines || bytes + fits.size() > kMaxWordBytes;
    if (words.truncated) break;
    bytes += fits.size();
    words.lines.emplace_back(fits);
  }
  std::reverse(words.lines.begin(), words.lines.end());
  return words;
}

std::string LibvirtLife(absl::string_view log, absl::Time start) {
  std::string life;
  bool found = false;
  bool command_line = false;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    absl::string_view said = line;
    const std::optional<absl::Time> time = TimeOfLibvirt(&said);
    if (time.has_value() && absl::StartsWith(said, "starting up ")) {
      if (*time > start + kStartError) break;
      found = command_line = *time >= start - kStartSlack;
      life.clear();
    } else if (command_line) {
      command_line = absl::EndsWith(line, "\\");
    } else if (found) {
      absl::StrAppend(&life, line, "\n");
    }
  }
  return life;
}

std::optional<SignalSender> SenderInWords(const std::vector<std::string>& lines) {
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    absl::string_view text = *line;
    const size_t at = text.find("terminating on signal ");
    if (at == text.npos) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(text.substr(at), ' ');
    SignalSender sender{.said_by_qemu = true};
    // terminating on signal 15 from pid 812 (PROGRAM)
    if (words.size() < 7 || !absl::SimpleAtoi(words[3], &sender.signal) || words[4] != "from" ||
        !absl::SimpleAtoi(words[6], &sender.pid) || sender.pid <= 0) {
      return std::nullopt;
    }
    if (words.size() > 7 && absl::ConsumePrefix(&text, text.substr(0, text.find('(') + 1))) {
      text = text.substr(0, text.find_first_of(" )"));
      sender.command = std::string(text.substr(text.rfind('/') + 1).substr(0, 64));
    }
    return sender;
  }
  return std::nullopt;
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

}  // namespace vmeventd
