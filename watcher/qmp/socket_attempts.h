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

  // The rest of an attempt, called on the loop's thread if its slot still exists.
  using WithSlot = absl::AnyInvocable<void(SocketSlot* slot)>;

  // Serves the specs 0 to `specs` - 1, and -1: all other directories. The pointers outlive this.
  SocketAttempts(RunContext* context, size_t specs, Delegate* delegate);

  // Calls `task` on the directory's thread, and then the function that it returned on the loop's
  // thread. Until that function returns, `descriptors` count as held by VMs.
  void Begin(SocketSlot* slot, int descriptors, std::function<WithSlot()> task);

  // Call it when all sockets that were in the directories of the spec have a timer to be tried.
  void OnRead(int spec);
  void CheckFirstScan();
  // Returns whether each socket that its directory had at the first read was tried. Directories
  // that hang do not count.
  bool first_scan_done() const { return first_scan_done_; }

  DirectoryThread* ThreadOf(int spec) const { return Of(spec).thread.get(); }

 private:
  // The attempts in the directories of one spec.
  struct Directories {
    std::unique_ptr<DirectoryThread> thread;
    int under_way = 0;   // attempts
    bool tried = false;  // an attempt was begun for each that was there when they were read first
  };

  // Index in `directories_`, whose first is that of spec -1.
  static size_t IndexOf(int spec) {
    const int index = spec + 1;
    return static_cast<size_t>(index);
  }
  const Directories& Of(int spec) const { return directories_[IndexOf(spec)]; }
  Directories& Of(int spec) { return directories_[IndexOf(spec)]; }
  // Returns the slot of an attempt that has ended. Null: it is gone, or has another attempt by now.
  SocketSlot* End(const std::string& path, uint64_t attempt, int spec);

  RunContext* const context_;
  Delegate* const delegate_;
  std::vector<Directories> directories_;  // that of spec -1 first
  uint64_t last_attempt_ = 0;
  bool first_scan_done_ = false;
};

}  // namespace vmeventd
