#ifndef VMEVENTD_WATCHER_RUNS_OOM_COUNTERS_H_
#define VMEVENTD_WATCHER_RUNS_OOM_COUNTERS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// The counts of OOM kills that the kernel keeps for each cgroup with a memory controller:
// `oom_kill` in memory.events (cgroup v2; those of the cgroups below count as well) or in
// memory.oom_control (v1, Linux 4.13). A process that the kernel kills because the
// cgroup or the node is out of memory is counted in its own cgroup.
class OomCounters {
 public:
  // Reads the mounts. `root` stands before every path, for tests.
  explicit OomCounters(std::string root = "");

  struct Count {
    std::string file;  // that has it
    uint64_t kills = 0;
  };
  // The count that the end of `pid` would raise; unset: not known. Two small reads, and one failing
  // open for each cgroup of v2 above the process that has no memory controller of its own.
  std::optional<Count> Find(int64_t pid) const;

  // Reads `file` again. RESOURCE_EXHAUSTED: no descriptor is left. Any other error: it cannot be
  // read, because the cgroup was removed, which its manager may do as soon as it is empty. The
  // parent's count does not replace it: that one counts all the VMs beside it.
  absl::StatusOr<uint64_t> Read(const std::string& file) const;

 private:
  struct Mount {
    std::string root;  // the path within the hierarchy that is mounted
    std::string directory;
  };
  // Where `cgroup`, a path within the hierarchy, is to be found; unset if it is not below `mount`.
  static std::optional<std::string> DirectoryOf(const std::optional<Mount>& mount,
                                                const std::string& cgroup);

  const std::string root_;
  std::optional<Mount> v1_memory_;
  std::optional<Mount> v2_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_OOM_COUNTERS_H_
