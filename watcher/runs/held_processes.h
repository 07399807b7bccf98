#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "watcher/runs/peer_process.h"

namespace vmeventd {

// Pidfds of the QEMUs that run when the daemon starts, for runs that are restored later: the disk
// that stores the runs may be slow, and a pidfd still gives the exit status of a QEMU that ends
// meanwhile. Used by one thread at a time.
class HeldProcesses {
 public:
  // Holds every process with a QEMU's name, at most `max`.
  void Open(int max);
  // Returns the process, which may have ended since; unset: it is not held.
  std::optional<PeerProcess> Take(int64_t pid, uint64_t start_ticks);
  void Clear() { processes_.clear(); }

 private:
  std::map<int64_t, PeerProcess> processes_;  // by pid
};

}  // namespace vmeventd
