#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/qmp/directory_watcher.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

// The source "QMP sockets": connects to each socket in the watched directories, and hands the
// connection to the run of the process behind it. A slot is a socket's path, a run is a process;
// several slots may be ways to one run. A run is made for a process that is a QEMU's by its name or
// its command line, or else for whoever greets as a QEMU.
//
// A slot without a connection to its run has a timer, and TryConnect() is its one step: it looks at
// the socket, finds its run, connects, or waits for longer than before. Loop thread.
class SocketConnector : public RunSource,
                        public DirectoryWatcher::Delegate,
                        public QmpRun::Connector {
 public:
  // All outlive the connector. An error names the system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<SocketConnector>> Create(QmpContext* context,
                                                                 RunTable* table, EventSink* sink);

  VmRun* Restore(VmSession* session) override;
  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;
  void OnOver(VmRun* run) override;

  // Returns whether a watched directory is there.
  bool is_open() const { return directories_->any_present(); }

  // Any thread.
  DirectoryWatcher::Counters directory_counters() const { return directories_->counters(); }
  std::vector<UnfollowedSocket> unfollowed_sockets() const;

 private:
  static constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

  SocketConnector(QmpContext* context, RunTable* table, EventSink* sink)
      : context_(context), table_(table), sink_(sink), watches_(context->options->watches) {}

  void OnSocket(int spec, const std::string& below) override;
  void OnSocketGone(int spec, const std::string& below) override;
  void OnDirectories(std::vector<WatchedDirectory> directories) override {
    sink_->SetDirectories(std::move(directories));
    if (started_ && runs_to_reach_) EndUnreachableRuns();
  }

  void OnMonitorReady(QmpRun* run, const std::string& uuid) override;
  void OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for) override;
  void OnNoVm(QmpRun* run, const Problem& problem) override;
  bool LeaveToOther(QmpRun* run, const PeerProcess& speaker) override;

  // Slots.
  // The --watch that `path` belongs to; -1 without one.
  int SpecOf(absl::string_view path) const;
  // Finds the slot of that path, or makes it.
  SocketSlot* SlotAt(const std::string& path);
  void DropSlotIfUnused(SocketSlot* slot);
  void ForgetUntried(SocketSlot* slot);
  std::string RawVmName(const SocketSlot& slot) const;
  void ReportProblem(SocketSlot* slot, const Problem& problem);
  void ForgetProblem(SocketSlot* slot);

  // Connecting.
  void Schedule(SocketSlot* slot, absl::Duration delay);
  // Schedules with twice the last wait, at least `first` and at most `limit`.
  void BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit);
  // Returns whether it has been tried for so long that its problem is to be reported.
  bool TriedForLong(const SocketSlot& slot) const;
  // The problem of a VM that gets no descriptors, its slot's run or a new one; null: there is room.
  const char* Shortage(const SocketSlot& slot, const SocketFile& file) const;
  // Reports that there are none, and tries again later.
  void AwaitDescriptors(SocketSlot* slot, const char* shortage);
  // If `socket`, at the slot's path, is another than the run's: that run has its connection and its
  // process, and the slot none.
  void LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket);
  void TryConnect(SocketSlot* slot);
  // Returns whether a connect can harm nobody: programs that serve one client, such as virtiofsd
  // and swtpm, end with it. Where another program than a QEMU may listen, a QEMU's command line
  // must name the socket as a monitor; until that is known, it is looked for later.
  bool MayConnect(SocketSlot* slot);
  void OnNotConnected(SocketSlot* slot, int error);
  void Attach(SocketSlot* slot, const SocketFile& file, ReceivingSocket socket);
  // Returns whether `peer`, who listens, is a QEMU: by its name or, where it was given another one,
  // by its command line, which is read for the next attempt.
  bool IsQemuAt(SocketSlot* slot, const PeerProcess& peer) const;
  // Connects without waiting; 0 or the errno.
  int Connect(const SocketFile& file, ReceivingSocket* connection) const;

  // Runs.
  // `run`, if it is this source's.
  QmpRun* Own(VmRun* run) const;
  // The run of the process behind the slot's socket, made if need be. Null: it cannot be followed.
  QmpRun* RunFor(SocketSlot* slot, const SocketFile& file, PeerProcess peer);
  // The run that was attached by that very socket last; null without one.
  QmpRun* RunAttachedBy(const SocketIdentity& socket) const;
  RunInfo Describe(const SocketSlot& slot, const SocketFile& file, const PeerProcess& peer);
  QmpRun* AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run);
  // Makes `slot` a way to `run`, or to none.
  void SetRun(SocketSlot* slot, QmpRun* run);
  // Saves by which socket, of which user, the run was attached.
  void SetSocket(QmpRun* run, SocketSlot* slot, const SocketIdentity& socket, uint32_t owner);
  void ForgetSocket(QmpRun* run);
  // Counts a run for another user than before.
  void SetOwner(RunSockets* sockets, uint32_t owner);
  // Nothing more can come of an untracked run whose connection is closed and whose socket is gone.
  static void EndUntrackedRun(SocketSlot* slot);
  // The same for restored runs to which no socket leads.
  void EndUnreachableRuns();

  QmpContext* const context_;
  RunTable* const table_;
  EventSink* const sink_;
  const std::vector<WatchSpec>& watches_;
  absl::flat_hash_map<absl::string_view, std::unique_ptr<SocketSlot>> slots_;  // SocketSlot::path
  std::vector<std::unique_ptr<SocketSlot>> dropped_slots_;  // may be on the call stack
  absl::flat_hash_map<InodeKey, QmpRun*> by_socket_;        // that was attached by each socket last
  absl::flat_hash_map<uint32_t, int> runs_of_;              // number by owner
  bool runs_to_reach_ = false;  // untracked ones whose directories could not be read
  int untried_slots_ = 0;
  bool started_ = false;
  bool first_scan_done_ = false;
  std::unique_ptr<DirectoryWatcher> directories_;

  mutable Mutex mutex_;
  // By the raw bytes of their paths.
  std::map<std::string, UnfollowedSocket> unfollowed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
