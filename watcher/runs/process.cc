#include "watcher/runs/process.h"

#include <dirent.h>

#include <csignal>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "watcher/core/proc_texts.h"
#include "watcher/core/qemu_program.h"
#include "watcher/signals/boot_clock.h"
#include "watcher/signals/process_stat.h"

namespace vmeventd {
namespace {

constexpr unsigned kExiting = 4;  // PF_EXITING

// Reads the stat file in `directory`; unset: it cannot be read.
std::optional<ProcessStat> ReadStat(const std::string& directory) {
  return ParseProcessStat(ReadSmallFile(directory + "/stat").value_or(""));
}

}  // namespace

bool IsDying(int64_t pid) {
  const std::string directory = absl::StrCat("/proc/", pid);
  if ((ReadStat(directory).value_or(ProcessStat()).flags & kExiting) != 0) return true;
  const absl::StatusOr<std::string> status = ReadSmallFile(directory + "/status");
  if (!status.ok()) return false;
  for (const absl::string_view name : {"SigPnd:", "ShdPnd:"}) {
    uint64_t pending = 0;
    if (absl::SimpleHexAtoi(ValueInLine(*status, name), &pending) &&
        (pending & (1 << (SIGKILL - 1))) != 0) {
      return true;
    }
  }
  return false;
}

std::string DescribeThreads(int64_t pid) {
  constexpr int kMaxThreads = 1024;
  // Letters of proc(5), the most telling first.
  constexpr std::pair<char, absl::string_view> kStates[] = {
      {'D', "waits in the kernel"},
      {'T', "stopped"},
      {'t', "traced"},
      {'Z', "ended"},
      {'X', "ended"},
      {'R', "runs"},
      {'S', "sleeps"},
  };
  const std::string directory = absl::StrCat("/proc/", pid, "/task");
  DIR* const list = opendir(directory.c_str());
  if (list == nullptr) return "";
  std::map<char, int> count;
  for (int read = 0; read < kMaxThreads; ++read) {
    const dirent* const entry = readdir(list);
    if (entry == nullptr) break;
    if (entry->d_name[0] == '.') continue;
    const auto stat = ReadStat(absl::StrCat(directory, "/", entry->d_name));
    if (stat.has_value()) ++count[stat->state];
  }
  closedir(list);
  std::string text;
  for (const auto& [state, meaning] : kStates) {
    if (count[state] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", count[state], " ", std::string(1, state), " (",
                    meaning, ")");
  }
  return text;
}

uint64_t StartTicksNow() { return static_cast<uint64_t>(SinceBoot() / StartOf(1)); }

bool HasNameOfQemu(int64_t pid) {
  const std::optional<ProcessStat> stat = ReadProcessStat(pid);
  if (!stat.has_value()) return true;
  return stat->name.empty() || IsQemuProgram(stat->name);
}

std::optional<ProcessStat> ReadProcessStat(int64_t pid) {
  return ReadStat(absl::StrCat("/proc/", pid));
}

absl::Time ProcessStartTime(uint64_t start_ticks) { return WallTimeOf(StartOf(start_ticks)); }

}  // namespace vmeventd
