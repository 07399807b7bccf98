#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "base/receiving_socket.h"
#include "watcher/core/managers.h"
#include "watcher/core/problem.h"
#include "watcher/qmp/qmp_meters.h"
#include "watcher/qmp/slot_table.h"
#include "watcher/qmp/socket_attempts.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/run_context.h"

namespace vmeventd {

// Connects to the sockets of slots: when, whether it can harm nobody (connect_rules.h), and whether
// a descriptor is left. A slot without a connection to its run has a timer, and TryConnect() begins
// its one attempt: the directory's thread looks at the socket, the delegate finds its run, the
// thread connects, or the slot waits for longer than before. A directory that hangs does not delay
// the others. Loop thread.
class SocketConnector : private SocketAttempts::Delegate {
 public:
  class Delegate {
   public:
    virtual ~Delegate() = default;
    // A socket is at the slot's path. Returns whether to connect to it.
    virtual bool OnSeen(SocketSlot* slot, const SeenSocket& seen) = 0;
    // The connection to the socket that was `seen`.
    virtual void OnConnected(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) = 0;
    // No socket is at the slot's path, or nobody listens on it.
    virtual void OnNobodyListens(SocketSlot* slot) = 0;
    virtual void ReportProblem(SocketSlot* slot, const Problem& problem) = 0;
    // Returns the number of runs whose sockets belong to that user.
    virtual int CountRunsOf(uint32_t owner) const = 0;
    // The thread of that spec's directory hangs, or responds again.
    virtual void OnHangChange(int spec) = 0;
  };

  // The pointers outlive this.
  SocketConnector(RunContext* context, SlotTable* slots, QmpMeters* meters, Delegate* delegate);

  // Tries the slot after `delay`, in place of the time for which it was scheduled before.
  void Schedule(SocketSlot* slot, absl::Duration delay);
  // Schedules with twice the last wait, at least `first` and at most `limit`.
  void BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit);
  // Begins no attempt for the slot until it is scheduled again.
  void Cancel(SocketSlot* slot);
  // Tries the slot now, unless its run is connected; again after the attempt that is under way, if
  // there is one.
  void TryConnect(SocketSlot* slot);

  // Returns whether the slot has been tried for so long that its problem is to be reported.
  bool TriedForLong(const SocketSlot& slot) const;
  // Returns whether descriptors are left for the slot's run, or for a new one. If not, reports that
  // and tries again later.
  bool HasDescriptors(SocketSlot* slot, const SeenSocket& seen);
  // An attempt failed with that errno: tries again later if that may help, and reports what may
  // last.
  void OnNotConnected(SocketSlot* slot, int error);

  // See SocketAttempts.
  void OnRead(int spec) { attempts_.OnRead(spec); }
  void CheckFirstScan() { attempts_.CheckFirstScan(); }
  bool first_scan_done() const { return attempts_.first_scan_done(); }
  // The thread of the directory of spec number `spec`; -1: of all other directories.
  DirectoryThread* ThreadOf(int spec) const { return attempts_.ThreadOf(spec); }

 private:
  SocketSlot* FindSlot(const std::string& path) override { return slots_->Find(path); }
  void TryAgain(SocketSlot* slot) override { Schedule(slot, absl::ZeroDuration()); }
  void OnHangChange(int spec) override { delegate_->OnHangChange(spec); }

  // Returns the problem if no descriptors are left; null: there are enough.
  const char* Shortage(const SocketSlot& slot, const SeenSocket& seen) const;
  // Number of descriptors that the slot's run still lacks.
  static int DescriptorsFor(const SocketSlot& slot);
  void AwaitDescriptors(SocketSlot* slot, const char* shortage);
  // `error`: the errno of the look at the slot's socket; 0: it was seen. `owner`: the manager that
  // needs it, judged by its path after links; null: none.
  void OnLooked(SocketSlot* slot, int error, const SeenSocket& seen, const Manager* owner);
  // Returns whether a connect can harm nobody; if not, looks again later.
  bool MayConnect(SocketSlot* slot, const Manager* owner);

  RunContext* const context_;
  SlotTable* const slots_;
  QmpMeters* const meters_;
  Delegate* const delegate_;
  SocketAttempts attempts_;
};

}  // namespace vmeventd
