#include "watcher/core/qemu_words.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {
namespace {

// libvirt's line comes at most that long before the start of the process that it announces, and the
// kernel counts that start in ticks.
constexpr absl::Duration kStartSlack = absl::Seconds(5);
constexpr absl::Duration kStartError = absl::Milliseconds(500);

// Parses the time at the start of a line of libvirt, such as "2026-01-31 12:00:00.123+0000:
// starting up libvirt version: ..." (qemuDomainLogContext), and removes it from the line. Unset:
// libvirt did not write the line.
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

// Returns whether it is a line that QEMU, on some hosts, writes at each start.
bool IsOfStart(absl::string_view line) {
  static constexpr absl::string_view kTexts[] = {"char device redirected to /dev/",
                                                 "VNC server running on ",
                                                 "warning: TCG doesn't support requested feature",
                                                 "warning: host doesn't support requested feature"};
  return std::any_of(std::begin(kTexts), std::end(kTexts),
                     [&](absl::string_view text) { return absl::StrContains(line, text); });
}

}  // namespace

v1::LastWords WordsIn(absl::string_view text, LastWordsSource source) {
  v1::LastWords words;
  words.set_source(ToProto(source));
  size_t bytes = 0;
  while (!text.empty()) {
    text = absl::StripTrailingAsciiWhitespace(text);
    const size_t begin = text.rfind('\n') + 1;  // npos + 1 is 0
    const absl::string_view line = text.substr(begin);
    text = text.substr(0, begin);
    if (line.empty() || IsOfLibvirt(line) || IsOfStart(line)) continue;
    const std::string escaped = OneLine(line.substr(0, kMaxWordBytes));
    const absl::string_view fits = Utf8Prefix(escaped, kMaxWordBytes);
    words.set_truncated(words.lines_size() == kMaxWordLines || bytes + fits.size() > kMaxWordBytes);
    if (words.truncated()) break;
    bytes += fits.size();
    words.add_lines(std::string(fits));
  }
  std::reverse(words.mutable_lines()->begin(), words.mutable_lines()->end());
  return words;
}

std::string LibvirtLife(absl::string_view log, absl::Time start) {
  std::string life;
  bool found = false;
  bool command_line = false;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    absl::string_view rest = line;
    const std::optional<absl::Time> time = TimeOfLibvirt(&rest);
    if (time.has_value() && absl::StartsWith(rest, "starting up ")) {
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

std::optional<SignalSender> SenderInLastWords(const v1::LastWords& words) {
  for (auto line = words.lines().rbegin(); line != words.lines().rend(); ++line) {
    absl::string_view text = *line;
    const size_t at = text.find("terminating on signal ");
    if (at == text.npos) continue;
    const std::vector<absl::string_view> fields = absl::StrSplit(text.substr(at), ' ');
    SignalSender sender{.from_last_words = true};
    // terminating on signal 15 from pid 812 (PROGRAM)
    if (fields.size() < 7 || !absl::SimpleAtoi(fields[3], &sender.signal) || fields[4] != "from" ||
        !absl::SimpleAtoi(fields[6], &sender.pid) || sender.pid <= 0) {
      return std::nullopt;
    }
    if (fields.size() > 7 && absl::ConsumePrefix(&text, text.substr(0, text.find('(') + 1))) {
      text = text.substr(0, text.find_first_of(" )"));
      sender.command = std::string(text.substr(text.rfind('/') + 1).substr(0, 64));
    }
    return sender;
  }
  return std::nullopt;
}

}  // namespace vmeventd
