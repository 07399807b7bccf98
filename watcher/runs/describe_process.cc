#include "watcher/runs/describe_process.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/proc_texts.h"
#include "watcher/runs/process.h"

namespace vmeventd {

ProcessInfo DescribeProcess(const PeerProcess& process, const OomCounters* oom_counters) {
  ProcessInfo info{.pid = process.pid, .start_ticks = process.start_ticks};
  if (const std::optional<ProcessKey> key = KeyOf(process); key.has_value()) {
    info.pidfd_inode = key->pidfd_inode;
  }
  if (process.start_ticks != 0) info.process_start = ProcessStartTime(process.start_ticks);
  if (process.pid != 0) {
    info.unit = UnitOf(ReadSmallFile(absl::StrCat("/proc/", process.pid, "/cgroup")).value_or(""));
  }
  if (process.pid == 0 || oom_counters == nullptr) return info;
  const std::optional<OomCounters::Count> ooms = oom_counters->Find(process.pid);
  // A path that is not UTF-8 cannot be saved.
  if (ooms.has_value() && EscapeNonUtf8(ooms->file) == ooms->file) {
    info.oom_file = ooms->file;
    info.oom_kills = ooms->kills;
  }
  return info;
}

}  // namespace vmeventd
