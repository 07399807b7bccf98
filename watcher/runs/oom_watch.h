#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/system.h"

namespace vmeventd {

class ProcessWatch;

// The counts of OOM kills that the kernel keeps for each cgroup with a memory controller:
// `oom_kill` in memory.events (cgroup v2; those of the cgroups below count as well) or in
// memory.oom_control (v1, Linux 4.13). A process that the kernel kills because the
// cgroup or the node is out of memory is counted in its own cgroup.
class OomCounters {
 public:
  // Reads the mounts. `root` stands before every path, for tests.
  explicit OomCounters(std::string root = "");

  struct Count {
    std::string file;  // the file that has it
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
  // Returns the directory of `cgroup`, a path within the hierarchy; unset if it is not below
  // `mount`.
  static std::optional<std::string> DirectoryOf(const std::optional<Mount>& mount,
                                                const std::string& cgroup);

  const std::string root_;
  std::optional<Mount> v1_memory_;
  std::optional<Mount> v2_;
};

// Follows the files that count the OOM kills of cgroups (OomCounters), so that a kill is noticed
// while it is fresh: who lives on after it was not its victim. The kernel counts a kill a moment
// before it sends the signal, so that the users of a file hear of its change kSettle later, and at
// most once in kInterval. A file that inotify does not follow (cgroup v1, or no watch left) is
// looked at every kPoll. Loop thread.
class OomWatch : public FdHandler {
 public:
  static constexpr absl::Duration kSettle = absl::Milliseconds(100);
  static constexpr absl::Duration kInterval = absl::Seconds(1);
  static constexpr absl::Duration kPoll = absl::Seconds(10);

  // `loop` outlives it. `root` stands before every path, for tests. The error names the call that
  // failed.
  static absl::StatusOr<std::unique_ptr<OomWatch>> Create(EventLoop* loop, std::string root = "");
  ~OomWatch() override;

  // Calls `user`'s OnOomCountChanged() when the count changes. `user` lives until Unfollow; call
  // this once for each user.
  void Follow(const std::string& file, ProcessWatch* user);
  // No-op if `user` does not follow `file`.
  void Unfollow(const std::string& file, ProcessWatch* user);

  void OnFdReady(uint32_t events) override;

 private:
  struct File {
    std::vector<ProcessWatch*> users;
    int watch = -1;  // -1: looked at from time to time
    TimerId check;
    absl::Duration checked = -absl::InfiniteDuration();
  };

  OomWatch(EventLoop* loop, UniqueFd inotify, std::string root)
      : loop_(loop), inotify_(std::move(inotify)), root_(std::move(root)) {}
  void OnChange(const std::string& path);
  void Check(const std::string& path);
  void ArmPoll();

  EventLoop* const loop_;
  const UniqueFd inotify_;
  const std::string root_;
  absl::flat_hash_map<std::string, File> files_;  // keyed by path
  absl::flat_hash_map<int, std::string> paths_;   // keyed by watch
  TimerId poll_;
};

}  // namespace vmeventd
