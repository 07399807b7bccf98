#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

// The ids of runs. Pure.

namespace vmeventd {

// Identity of one run of one QEMU process.
struct RunIdentity {
  std::string boot_id;       // /proc/sys/kernel/random/boot_id
  std::string monitor_path;  // of the monitor at which the run was found first
  int64_t pid = 0;           // 0: the process cannot be seen, the socket file stands for it
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  // Used if the process cannot be seen: then only the time of the first sight distinguishes the
  // runs that are found behind one socket, one after another.
  uint64_t socket_inode = 0;
  int64_t first_seen_ns = 0;  // since 1970
};

// The beginning of the ids of all runs under the boot with this id.
std::string RunIdPrefix(absl::string_view boot_id);

// Returns the id of a run. No two runs have the same id. For a process that can be seen, the id is
// the same each time it is computed.
std::string MakeRunId(const RunIdentity& identity);

}  // namespace vmeventd
