#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/run_context.h"

namespace vmeventd {

// The attempts to look at sockets and to connect to them: each on the thread of the socket's
// directory, one at a time for a slot. Knows when everything that was there at the start was tried.
// Loop thread.
class SocketAttempts {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // Returns the slot of that path; null: there is none.
    virtual SocketSlot* FindSlot(const std::string& path) = 0;
    // An attempt for the slot has ended during which another one was asked for
    // (SocketSlot::try_again).
    virtual void TryAgain(SocketSlot* slot) = 0;
    // The thread of that spec hangs, or responds again.
    virtual void OnHangChange(int spec) = 0;
  };

  // What follows an attempt, on the loop's thread, if its slot is still there.
  using WithSlot = absl::AnyInvocable<void(SocketSlot* slot)>;

  // For the specs 0 to `specs` - 1, and -1: all other directories. The pointers outlive this.
  SocketAttempts(RunContext* context, size_t specs, Delegate* delegate);

  // The directory's thread calls `work`; what that returns is called then. `descriptors` count as
  // held by VMs until it ends.
  void Begin(SocketSlot* slot, int descriptors, std::function<WithSlot()> work);

  // All sockets that were in the directories of the spec have a timer to be tried.
  void OnRead(int spec);
  void CheckFirstScan();
  // Returns whether each that was there when its directory was read first was tried, but for
  // directories that hang.
  bool first_scan_done() const { return first_scan_done_; }

  DirectoryThread* ThreadOf(int spec) const { return Of(spec).thread.get(); }

 private:
  // Of one spec.
  struct Directories {
    std::unique_ptr<DirectoryThread> thread;
    int under_way = 0;   // attempts
    bool tried = false;  // an attempt was begun for each that was there when they were read first
  };

  const Directories& Of(int spec) const { return directories_[static_cast<size_t>(spec + 1)]; }
  Directories& Of(int spec) { return directories_[static_cast<size_t>(spec + 1)]; }
  // Null: the slot is gone, or the attempt is no longer the slot's.
  SocketSlot* End(const std::string& path, uint64_t attempt, int spec);

  RunContext* const context_;
  Delegate* const delegate_;
  std::vector<Directories> directories_;  // that of spec -1 first
  uint64_t last_attempt_ = 0;
  bool first_scan_done_ = false;
};

}  // namespace vmeventd
