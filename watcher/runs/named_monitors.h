#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "watcher/runs/monitor_owner.h"

namespace vmeventd {

// The sockets that QEMUs name as QMP monitors in their command lines. Any thread.
class NamedMonitors {
 public:
  // A QEMU, as its command line describes it.
  struct Qemu {
    int64_t pid = 0;
    int64_t parent = 0;
    uint32_t user = 0;                 // the process's owner
    std::string name;                  // QemuArguments::name
    std::string id;                    // QemuArguments::id
    std::vector<SocketInode> sockets;  // at the paths of its monitors, in its own view of the files
  };

  // Returns the owner of the monitor whose socket has that inode; unset: no monitor has it.
  // Incomplete until done().
  std::optional<MonitorOwner> Find(const SocketInode& inode) const {
    const MutexLock lock(&mutex_);
    const auto found = owners_.find(inode);
    return found == owners_.end() ? std::nullopt : std::optional(found->second);
  }
  bool done() const { return done_; }
  // Returns the QEMUs with a monitor that listens at a path. Incomplete until done().
  std::vector<Qemu> Qemus() const {
    const MutexLock lock(&mutex_);
    return qemus_;
  }
  // Called by the thread that reads.
  void Add(const SocketInode& inode, MonitorOwner owner) {
    const MutexLock lock(&mutex_);
    owners_[inode] = owner;
  }
  void Add(Qemu qemu) {
    const MutexLock lock(&mutex_);
    qemus_.push_back(std::move(qemu));
  }
  void Finish() { done_ = true; }

 private:
  mutable Mutex mutex_;
  std::vector<Qemu> qemus_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<SocketInode, MonitorOwner> owners_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> done_ = false;
};

}  // namespace vmeventd
