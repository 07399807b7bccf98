#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace vmeventd {

// Reads the OOM kills that the kernel counts for each cgroup with a memory controller: `oom_kill`
// in memory.events, which includes the cgroups below; or in memory.oom_control of cgroup v1. A
// process that the kernel kills because the cgroup or the node is out of memory is counted in its
// own cgroup.
class OomCounters {
 public:
  // `root` stands before every path, for tests.
  explicit OomCounters(std::string root = "") : root_(std::move(root)) {}

  struct Count {
    std::string file;  // the file that has it
    uint64_t kills = 0;
  };
  // Returns the count that an OOM kill of `pid` would raise; unset: not known.
  std::optional<Count> Find(int64_t pid) const;

  // Reads `file` again; unset: it cannot be read, because the cgroup was removed, which its manager
  // may do as soon as it is empty. The parent's count does not replace it: that one counts
  // its other VMs as well.
  std::optional<uint64_t> Read(const std::string& file) const;

 private:
  const std::string root_;
};

}  // namespace vmeventd
