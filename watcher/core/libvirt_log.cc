#include "watcher/core/libvirt_log.h"

#include <cstddef>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

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

}  // namespace

bool IsLibvirtLog(absl::string_view path, absl::string_view name) {
  return absl::EndsWith(path, absl::StrCat("/libvirt/qemu/", name, ".log"));
}

bool IsLibvirtLogLine(absl::string_view line) { return TimeOfLibvirt(&line).has_value(); }

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

}  // namespace vmeventd
