#include "watcher/runs/run_context.h"

#include <algorithm>

#include "absl/time/time.h"
#include "watcher/core/run_id.h"

namespace vmeventd {

std::string RunContext::NewRunId(const ProcessInfo& process, absl::string_view monitor_path,
                                 uint64_t socket_inode) {
  RunIdentity identity{.boot_id = boot_id, .monitor_path = std::string(monitor_path)};
  if (process.start_ticks != 0) {
    identity.pid = process.pid;
    identity.start_ticks = process.start_ticks;
  } else {
    last_first_seen_ns = std::max(absl::ToUnixNanos(loop->Now().wall), last_first_seen_ns + 1);
    identity.socket_inode = socket_inode;
    identity.first_seen_ns = last_first_seen_ns;
  }
  return MakeRunId(identity);
}

}  // namespace vmeventd
