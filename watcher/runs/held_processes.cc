#include "watcher/runs/held_processes.h"

#include <dirent.h>

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "watcher/core/qemu_program.h"
#include "watcher/runs/process.h"

namespace vmeventd {

void HeldProcesses::Open(int max) {
  DIR* const list = opendir("/proc");
  if (list == nullptr) return;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* const entry = readdir(list)) {
    int64_t pid = 0;
    if (!absl::SimpleAtoi(static_cast<const char*>(entry->d_name), &pid)) continue;
    const std::optional<ProcessStat> stat = ReadProcessStat(pid);
    if (!stat.has_value() || !IsQemuProgram(stat->name)) continue;
    absl::StatusOr<PeerProcess> found = IdentifyAgain(pid, stat->start_ticks);
    if (!found.ok() || static_cast<int>(processes_.size()) >= max) break;
    if (found->kind == PeerProcess::Kind::kTracked) processes_[pid] = *std::move(found);
  }
  closedir(list);
}

std::optional<PeerProcess> HeldProcesses::Take(int64_t pid, uint64_t start_ticks) {
  const auto it = processes_.find(pid);
  if (it == processes_.end() || it->second.start_ticks != start_ticks) return std::nullopt;
  return std::move(processes_.extract(it).mapped());
}

}  // namespace vmeventd
