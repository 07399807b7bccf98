#include "watcher/core/qemu_words.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/libvirt_log.h"

namespace vmeventd {
namespace {

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
    if (line.empty() || IsLibvirtLogLine(line) || IsOfStart(line)) continue;
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
