#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "watcher/core/managers.h"
#include "watcher/core/qemu_arguments.h"

namespace vmeventd {

// Reads the command lines of processes. Such a read needs memory pages of the process, which
// decides how long that takes: a page of a file system that it serves itself may never come. So
// extra threads read, and each such process can block one of them for ever. If all are blocked, or
// none can be started, nothing more is read, and callers get no result. Used by one thread at a
// time.
class CommandLines {
 public:
  static constexpr int kMaxThreads = 4;
  static constexpr size_t kMaxWaiting = 1024;

  using Inode = std::pair<dev_t, ino_t>;
  // The program that needs a monitor for itself; null: none.
  using Owner = const Manager*;
  using Owners = std::vector<std::pair<Inode, Owner>>;  // by the monitor's socket

  // A read in the background.
  class Read {
   public:
    bool done() const { return done_; }
    // Waits until it is done, at most `limit`. Returns whether it is.
    bool Await(absl::Duration limit) const {
      const MutexLock lock(&mutex_);
      return WaitUntil(&finished_, &mutex_, limit, [this] { return done(); });
    }
    // Once done: the arguments. Null: the process is no QEMU, or they could not be read.
    const QemuArguments* found() const { return found_.get(); }
    // Once done: what the process was given as -uuid, whatever its program is called. Empty:
    // nothing, or it could not be read.
    const std::string& uuid() const { return uuid_; }
    // Once done: the container whose libvirt_lxc it is. Empty: it is none, or could not be read.
    const std::string& container() const { return container_; }
    // Once done: the owner of the monitor whose socket has that inode, judged by the path in the
    // command line (OwnerOfPath), wherever vmeventd sees the socket.
    Owner OwnerOf(const Inode& inode) const {
      const auto found = std::find_if(owners_.begin(), owners_.end(),
                                      [&](const auto& one) { return one.first == inode; });
      return found == owners_.end() ? nullptr : found->second;
    }
    // Called once, by the thread that reads.
    void Finish(std::unique_ptr<const QemuArguments> found, std::string uuid = "",
                std::string container = "", Owners owners = {}) {
      found_ = std::move(found);
      uuid_ = std::move(uuid);
      container_ = std::move(container);
      owners_ = std::move(owners);
      const MutexLock lock(&mutex_);
      done_ = true;
      finished_.NotifyAll();
    }

   private:
    mutable Mutex mutex_;
    mutable CondVar finished_;
    std::unique_ptr<const QemuArguments> found_;
    std::string uuid_;
    std::string container_;
    Owners owners_;
    std::atomic<bool> done_ = false;  // set last: after that the others do not change
  };

  // The sockets that QEMUs name as QMP monitors in their command lines. Any thread.
  class Monitors {
   public:
    // A QEMU, as its command line describes it.
    struct Qemu {
      int64_t pid = 0;
      int64_t parent = 0;
      uint32_t user = 0;           // the process's owner
      std::string name;            // QemuArguments::name
      std::string id;              // QemuArguments::id
      std::vector<Inode> sockets;  // at the paths of its monitors, in its own view of the files
    };

    // Returns the owner of the monitor whose socket has that inode; unset: no monitor has it.
    // Incomplete until done().
    std::optional<Owner> Find(const Inode& inode) const {
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
    void Add(const Inode& inode, Owner owner) {
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
    absl::flat_hash_map<Inode, Owner> owners_ ABSL_GUARDED_BY(mutex_);
    std::atomic<bool> done_ = false;
  };

  CommandLines();
  virtual ~CommandLines() = default;
  CommandLines(const CommandLines&) = delete;
  CommandLines& operator=(const CommandLines&) = delete;

  // Begins to read the command line of the process `pid`, unless a read of it is under way.
  virtual std::shared_ptr<const Read> Begin(int64_t pid);

  // Begins to read the command lines of all processes for the monitors that they name; processes
  // with a QEMU's name come first. Skips a process that another such read waits for.
  virtual std::shared_ptr<const Monitors> BeginMonitors();

  // Number of reads that were not begun because too many waited. Any thread.
  uint64_t left_out() const { return left_out_.value(); }

 private:
  // Reads that wait or are under way, by pid: a process holds one thread of each kind at most.
  struct UnderWay {
    Mutex mutex;
    absl::flat_hash_map<int64_t, std::shared_ptr<Read>> reads ABSL_GUARDED_BY(mutex);
    absl::flat_hash_set<int64_t> read_for_monitors ABSL_GUARDED_BY(mutex);
    std::shared_ptr<Monitors> next_monitors ABSL_GUARDED_BY(mutex);  // not begun
  };
  static void ReadMonitors(UnderWay* under_way, Monitors* monitors);

  const std::shared_ptr<UnderWay> under_way_ = std::make_shared<UnderWay>();
  DetachedThreads threads_;
  Counter left_out_;
};

}  // namespace vmeventd
