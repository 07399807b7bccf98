#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/qmp/directory_watcher.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

// The source "QMP sockets": connects to each socket in the watched directories, finds out which
// process it belongs to, and hands the connection to the run of that process. A slot is a socket's
// path, a run is a process; several slots may be ways to one run. Loop thread.
class SocketConnector : public RunSource,
                        public DirectoryWatcher::Delegate,
                        public QmpRun::Connector {
 public:
  // All outlive the connector. An error names the system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<SocketConnector>> Create(QmpContext* context,
                                                                 RunTable* table, EventSink* sink);

  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;

  bool Restores(const RunInfo& info) const override {
    return info.reported_by == ReportedBy::kMonitor;
  }
  VmRun* Restore(VmSession session) override;
  bool GoOn(VmRun* run, HandedRun* handed) override;
  void OnRestored(VmRun* run) override;
  void EndUnreachableRuns() override;

  void OnPublished(VmRun* run) override;
  bool OwnsName(const VmRun* run) const override;
  void OnOver(VmRun* run) override;

  // Returns whether a watched directory is there.
  bool is_open() const { return directories_->any_present(); }
  // As NodeWatcher::HandOver().
  std::vector<HandedRun> HandOver();

  // Any thread.
  DirectoryWatcher::Counters directory_counters() const { return directories_->counters(); }
  std::vector<UnfollowedSocket> unfollowed_sockets() const;

  static constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

 private:
  SocketConnector(QmpContext* context, RunTable* table, EventSink* sink);

  void OnSocket(int spec, const std::string& below) override;
  void OnSocketGone(int spec, const std::string& below) override;
  void OnDirectories(std::vector<WatchedDirectory> directories) override;

  void OnMonitorReady(QmpRun* run, const std::string& uuid) override;
  void OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for) override;
  void OnSpeaker(QmpRun* run, PeerProcess speaker) override;
  void OnSpeakerUnread(QmpRun* run) override;
  bool ListensAsQemu(const QmpRun* run) const override;
  Silent NoteSilent(QmpRun* run) override;

  // Slots.
  // The --watch that `path` belongs to; -1 without one.
  int SpecOf(absl::string_view path) const;
  // Finds the slot of that path, or makes it.
  SocketSlot* SlotAt(const std::string& path);
  void DropSlotIfUnused(SocketSlot* slot);
  void ForgetUntried(SocketSlot* slot);
  std::string RawVmName(const SocketSlot& slot) const;
  // Returns whether `socket`, at the slot's path, is still the one that `run` was attached by. Its
  // inode says so too as long as the slot has it: where the file system keeps no birth time, a
  // chmod makes another identity of a socket.
  static bool IsSocketOf(const VmRun& run, const SocketSlot& slot, const SocketIdentity& socket) {
    return socket == run.info().socket || (slot.run == &run && slot.inode == InodeOf(socket));
  }
  void ClaimInode(SocketSlot* slot, const SocketIdentity& socket);
  void ReportProblem(SocketSlot* slot, const std::string& problem);
  void ForgetProblem(SocketSlot* slot);

  // Connecting.
  void Schedule(SocketSlot* slot, absl::Duration delay);
  void ScheduleAll(const std::vector<SocketSlot*>& slots);
  // Schedules with twice the last wait, at least `first` and at most `limit`.
  void BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit);
  // Returns whether it has been tried for so long that its problem is to be reported.
  bool TriedForLong(const SocketSlot& slot) const;
  // The problem of a VM that gets no descriptors, its slot's run or a new one; null: there is room.
  const char* Shortage(const SocketSlot& slot, const SocketFile& file) const;
  // Reports that there are none, and tries again later.
  void AwaitDescriptors(SocketSlot* slot, const char* shortage);
  // If `socket`, at the slot's path, is another than the run's: that goes on by its connection and
  // its process.
  void LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket);
  void TryConnect(SocketSlot* slot);
  // Returns whether a connect can harm nobody: programs that serve one client, such as virtiofsd
  // and swtpm, end with it. Where another program than a QEMU may listen, a QEMU's command line
  // must name the socket as a monitor; until that is known, it is looked for later.
  bool MayConnect(SocketSlot* slot, const SocketIdentity& socket);
  // Returns whether the socket at the slot's path sent no greeting.
  static bool IsSilent(const SocketSlot& slot) {
    return slot.silent.has_value() && InodeOf(*slot.silent) == slot.inode;
  }
  // `why` says more of kFailed.
  void OnNotConnected(SocketSlot* slot, ConnectOutcome outcome, absl::string_view why = "");
  void OnNotConnected(SocketSlot* slot, int error);
  void Attach(SocketSlot* slot, const SocketFile& file, ReceivingSocket socket);
  // Returns whether `peer`, who listens, is a QEMU: by its name or, where it was given another one,
  // by its command line, which is read for the next attempt.
  bool IsQemuAt(SocketSlot* slot, const PeerProcess& peer) const;
  // Connects without waiting; 0 or the errno.
  int Connect(const SocketFile& file, ReceivingSocket* connection) const;
  void ReportListenerGone(SocketSlot* slot);

  // Runs.
  static RunSockets& SocketsOf(VmRun* run) { return static_cast<QmpRun*>(run)->sockets(); }
  static const RunSockets& SocketsOf(const VmRun* run) {
    return static_cast<const QmpRun*>(run)->sockets();
  }
  // `run`, if it is this source's.
  QmpRun* Own(VmRun* run) const;
  // Null: the process cannot be followed.
  QmpRun* FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer);
  // The run that is connected by that very socket; null without one.
  QmpRun* RunAttachedBy(const SocketIdentity& socket) const;
  QmpRun* FindRun(const SocketSlot& slot, const SocketIdentity& socket, const PeerProcess& peer);
  RunInfo Describe(const SocketSlot& slot, const SocketFile& file, const PeerProcess& peer);
  // The id of a run at `slot` by its process, whose start is known. A launcher may listen there for
  // one QEMU after the other: then it is used already.
  std::string RunIdOf(const SocketSlot& slot, const PeerProcess& process) const;
  std::string NewRunId(const SocketSlot& slot, const SocketIdentity& socket,
                       const PeerProcess& peer);
  void NoteUsedId(const std::string& run_id);
  // Counts a run for another user than before.
  void SetOwner(RunSockets* sockets, uint32_t owner);
  QmpRun* AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run);
  // Makes `slot` a way to `run`, or to none.
  void SetRun(SocketSlot* slot, QmpRun* run);
  // Notes by which socket the run was attached.
  void NoteSocket(QmpRun* run, SocketSlot* slot, const SocketFile& file);
  void ForgetSocket(QmpRun* run);
  // Nothing more can come of an untracked run whose connection is closed and whose socket is gone.
  void EndUntrackedRun(SocketSlot* slot);
  // Returns whether the socket by which `run` was attached last is still at the slot's path.
  static bool IsAt(const SocketSlot& slot, const VmRun& run);

  QmpContext* const context_;
  RunTable* const table_;
  EventSink* const sink_;
  const std::vector<WatchSpec>& watches_;
  struct Path {
    static absl::string_view Of(absl::string_view path) { return path; }
    static absl::string_view Of(const std::unique_ptr<SocketSlot>& slot) { return slot->path; }
  };
  KeyedSet<std::unique_ptr<SocketSlot>, Path> slots_;
  std::vector<std::unique_ptr<SocketSlot>> dropped_slots_;  // may be on the call stack
  InodeClaims claims_;
  struct AttachedInode {
    static const InodeKey& Of(const InodeKey& inode) { return inode; }
    static const InodeKey& Of(const QmpRun* run) { return *run->sockets().attached_inode; }
  };
  KeyedSet<QmpRun*, AttachedInode> by_socket_;  // that was attached by each socket last
  // Ids of runs that ended with another process than their id names, which may live, and of those
  // that ended before this daemon: the last ones.
  std::deque<std::string> used_ids_;
  absl::flat_hash_map<uint32_t, int> runs_of_;  // number by owner
  bool runs_to_reach_ = false;  // untracked ones whose directories could not be scanned
  int untried_slots_ = 0;
  bool started_ = false;
  bool first_scan_done_ = false;
  std::unique_ptr<DirectoryWatcher> directories_;

  mutable Mutex mutex_;
  // By the raw bytes of their paths.
  std::map<std::string, UnfollowedSocket> unfollowed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
