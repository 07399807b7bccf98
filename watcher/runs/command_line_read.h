#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/runs/monitor_owner.h"

namespace vmeventd {

// A read of one command line, in the background. Any thread.
class CommandLineRead {
 public:
  bool done() const { return done_; }
  // Waits until it is done, at most `limit`. Returns whether it is.
  bool Await(absl::Duration limit) const {
    const MutexLock lock(&mutex_);
    return WaitUntil(&finished_, &mutex_, limit, [this] { return done(); });
  }
  // Once done: the arguments. Null: the process is no QEMU, or they could not be read.
  const QemuArguments* found() const { return found_.get(); }
  // Once done: the process's argument of -uuid, whatever its program is called. Empty: nothing, or
  // it could not be read.
  const std::string& uuid() const { return uuid_; }
  // Once done: the container whose libvirt_lxc it is. Empty: it is none, or could not be read.
  const std::string& container() const { return container_; }
  // Once done: the owner of the monitor whose socket has that inode, judged by the path in the
  // command line (OwnerOfPath), wherever vmeventd sees the socket.
  MonitorOwner OwnerOf(const SocketInode& inode) const {
    const auto found = std::find_if(owners_.begin(), owners_.end(),
                                    [&](const auto& one) { return one.first == inode; });
    return found == owners_.end() ? nullptr : found->second;
  }
  // Called once, by the thread that reads.
  void Finish(std::unique_ptr<const QemuArguments> found, std::string uuid = "",
              std::string container = "", MonitorOwners owners = {}) {
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
  MonitorOwners owners_;
  std::atomic<bool> done_ = false;  // set last: after that the others do not change
};

}  // namespace vmeventd
