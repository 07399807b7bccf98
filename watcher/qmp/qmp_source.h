#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "watcher/core/managers.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/qmp/directory_watcher.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

class QmpRun;
class SocketConnector;

// The watcher's state of one socket path, while the socket is there, and while a run that was found
// at it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  int runs = 0;      // live ones that were found here
  bool present = false;
  // `socket` sent no greeting, and no VM is seen behind it: until then a foreign listener is left
  // alone.
  absl::Duration silent_until;

  // The run that this path is a way to: the newest of those found here. An older one, whose socket
  // was replaced, lives on without being it.
  QmpRun* run = nullptr;

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet
  // Names what its directory's thread does for it; 0: nothing.
  uint64_t attempt = 0;
  bool try_again = false;  // once that has ended

  SocketIdentity socket;  // as seen last
  // The end of the run that was attached by `socket` was seen: nobody listens on it again, and its
  // file is what a QEMU leaves that is killed, or that may not remove it as another user.
  bool end_seen = false;
  bool runs_no_vm = false;  // who listens at `socket`: it is left alone

  // A listener whose name is not a QEMU's, and its command line once that is read.
  struct ListeningProcess {
    ProcessKey process;  // by its number
    std::shared_ptr<const CommandLines::Read> command_line;
  };
  Rare<ListeningProcess> listener;

  // A read of all QEMUs' command lines, while it is not known whether one names the socket.
  std::shared_ptr<const CommandLines::Monitors> monitors;

  Problem problem;  // as reported, while no run is seen behind the socket
};

// The sockets of a run, as its source has them.
struct RunSockets {
  SocketSlot* home = nullptr;  // the slot of its first sight, which names it
  // Slots whose `run` it is, and the one of them that it was attached by last, if that is left.
  absl::InlinedVector<SocketSlot*, 1> ways;
  SocketSlot* attached_by = nullptr;
  // Key of the socket that it was attached by last, by which it is found again.
  std::optional<InodeKey> attached_inode;
  uint32_t owner = 0;  // the user whose socket that is
  // Who listened there can be seen, or could until its end: so can who speaks.
  bool listener_seen = false;
};

// A run that is followed by its QMP socket: a VmRun with the monitor's connection while there is
// one. Its process is the QEMU that listens, or else the first process that speaks on the monitor;
// another one is not read. Which socket to connect to, and when, is its source's business. Loop
// thread.
class QmpRun : public VmRun, public MonitorConnection::Delegate {
 public:
  enum class MonitorEnd {
    kLost,      // the peer closed it
    kHeld,      // no greeting in time
    kProtocol,  // what came is not QMP, or is of another process than the run's
  };

  // The pointers outlive the run.
  QmpRun(RunContext* context, RunTable* table, SocketConnector* connector, VmSession session);
  ~QmpRun() override;

  // Takes over a new connection, to the socket `identity`, and closes the one it has.
  absl::Status Attach(ReceivingSocket socket, const SocketIdentity& identity);
  // Returns whether the first to speak on its monitor is to be followed.
  bool awaits_sender() const {
    return !greeted_ && !tracked() && context_->options->process_tracking;
  }

  bool connected() const override { return connection_ != nullptr; }
  std::optional<HandedRun> HandOver() override;
  // Only where its socket is watched.
  bool ResumeFrom(HandedRun* handed) override;
  void ReadNow() override {
    if (connection_ != nullptr) connection_->Drain();
  }

  // Returns whether `socket`, at the path of `slot`, is still the one that it was attached by. Its
  // inode shows that too as long as the slot has it: where the file system has no birth times, a
  // chmod makes another identity of a socket.
  bool IsSocketOf(const SocketSlot& slot, const SocketIdentity& socket) const {
    return socket == info().socket || (slot.run == this && InodeOf(slot.socket) == InodeOf(socket));
  }
  // State of the source.
  RunSockets& sockets() { return sockets_; }
  const RunSockets& sockets() const { return sockets_; }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void Disconnect() override { RetireConnection(); }
  std::function<bool()> OwnsName() const override;
  DirectoryThread* Thread() const override;

  std::string OnSender(int64_t pid) override;
  void OnGreetingLate() override;
  void OnReplyLate(bool last) override;
  void OnReady(const MonitorInfo& info) override;
  void OnEvent(const QmpEvent& event) override { HandleQmpEvent(event); }
  void OnRunStateReply(absl::string_view run_state) override;
  void OnGuestAgentReply(const GuestAgentInfo& agent) override { Hand(input::AgentAnswer{agent}); }
  void OnClosed(absl::string_view why, bool protocol_error) override;

  std::unique_ptr<MonitorConnection> NewConnection(ReceivingSocket socket);
  // Ends the run if its process is gone: what that said was handed in.
  void EndWithProcess();
  // Drops the connection, whose object may be on the call stack.
  void RetireConnection();

  SocketConnector* const connector_;
  RunSockets sockets_;
  std::unique_ptr<MonitorConnection> connection_;
  absl::Duration ready_since_ = absl::InfiniteDuration();  // InfiniteDuration: not yet
  const bool known_;                                       // its process was, before anybody spoke
  bool greeted_;                 // somebody has spoken on its monitor as QEMU does
  bool answered_ = false;        // a handshake was completed
  bool silence_logged_ = false;  // logged since it was ready, as the next one
  bool protocol_error_logged_ = false;
  std::shared_ptr<const CommandLines::Read> command_line_;  // of a QEMU that another client has
};

// The source "QMP sockets": connects to each socket in the watched directories, and hands the
// connection to the run of the process behind it. A slot is a socket's path, a run is a process;
// several slots may be ways to one run. A run is made for a process that is a QEMU's by its name or
// its command line, or else for the process that greets as a QEMU.
//
// A slot without a connection to its run has a timer, and TryConnect() begins its one attempt: the
// directory's thread looks at the socket, its run is found, the thread connects, or the slot waits
// for longer than before. What hangs there holds no other directory. Loop thread.
class SocketConnector : public RunSource, public DirectoryWatcher::Delegate {
 public:
  // All but the runs in the table outlive the connector, which outlives those. An error names the
  // system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<SocketConnector>> Create(RunContext* context,
                                                                 RunTable* table);

  VmRun* Restore(VmSession* session) override;
  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;
  void OnOver(VmRun* run) override;

  // Reports of runs, from within any method that hands an input to a session, and from the loop.
  void OnMonitorReady(QmpRun* run, const std::string& uuid);
  // The connection is closed and the run is open: connect again. `answered_for` is how long QEMU
  // had answered on it, zero if it never did.
  void OnMonitorEnded(QmpRun* run, QmpRun::MonitorEnd end, absl::Duration answered_for);
  // No VM that anybody knows of is behind the socket of `run`, of which nothing was published: it
  // is discarded.
  void OnNoVm(QmpRun* run, const Problem& problem);
  // Returns whether the path of `run` names another VM, whose QEMU runs: one that is called
  // `qemu_name` took it, as a clone does.
  bool IsNamedAfterAnother(const QmpRun& run, absl::string_view qemu_name) const;
  // `sender` is the first to speak on the monitor of `run`. Returns whether another run follows
  // it: then `run` was discarded.
  bool LeaveToOther(QmpRun* run, const PeerProcess& sender);

  // For runs: the shares of their monitors, and the end of a connection that may be on the call
  // stack.
  MonitorBudget* budget() { return &budget_; }
  void Retire(std::unique_ptr<MonitorConnection> connection) {
    closed_connections_.push_back(std::move(connection));
  }

  // The thread of the directory of spec number `spec`; -1: of all others.
  DirectoryThread* ThreadOf(int spec) const {
    return threads_[static_cast<size_t>(spec + 1)].get();
  }
  // Returns whether a watched directory is there.
  bool is_open() const { return directories_->any_present(); }

  // Any thread.
  DirectoryWatcher::Counters directory_counters() const { return directories_->counters(); }
  uint64_t lines_refused() const { return budget_.refused(); }
  // Returns whether each watched directory is there and can be read.
  bool sees_all_directories() const;
  // Adds the watched directories, and the sockets without a run, by path, the first 1,000.
  void Describe(v1::GetServerInfoResponse* info) const;

 private:
  static constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

  // The attempts for the slots of one spec.
  struct Attempts {
    int under_way = 0;
    bool tried = false;  // each that was there when the directory was read first was begun
  };

  SocketConnector(RunContext* context, RunTable* table);

  void OnSocket(int spec, const std::string& below, const SeenSocket& socket) override;
  void OnSocketGone(int spec, const std::string& below) override;
  void OnRead(int spec) override;
  void OnDirectories(std::vector<v1::WatchedDirectory> directories) override {
    const MutexLock lock(&mutex_);
    watched_ = std::move(directories);
  }

  // The thread of that spec hangs, or answers again.
  void OnHangChange(int spec);
  // Ends untracked runs of that spec, whose directory was read, to which no socket leads.
  void EndLostRuns(int spec);
  void CheckFirstScan();

  // Slots.
  // Finds the slot of that path, or makes it.
  SocketSlot* SlotAt(const std::string& path);
  void DropSlotIfUnused(SocketSlot* slot);
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
  const char* Shortage(const SocketSlot& slot, const SeenSocket& seen) const;
  // Reports that there are none, and tries again later.
  void AwaitDescriptors(SocketSlot* slot, const char* shortage);
  // If `socket`, at the slot's path, is another than the run's: that run has its connection and its
  // process, and the slot none.
  void LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket);
  void TryConnect(SocketSlot* slot);
  // The directory's thread calls `work`; what that returns is called then with the slot, if
  // it is still there.
  using WithSlot = absl::AnyInvocable<void(SocketSlot* slot)>;
  // `descriptors` are held for it until it ends.
  void BeginAttempt(SocketSlot* slot, int descriptors, std::function<WithSlot()> work);
  // Number of descriptors that the slot's run still lacks.
  int DescriptorsFor(const SocketSlot& slot) const;
  SocketSlot* EndAttempt(const std::string& path, uint64_t attempt, int spec);
  // `error` of looking at the slot's socket; 0: it was seen. `owner` is the manager that needs it,
  // by the path to which links lead; null: none does.
  void OnSeen(SocketSlot* slot, int error, const SeenSocket& seen, const Manager* owner);
  // Returns whether a connect can harm nobody: programs that serve one client, such as virtiofsd
  // and swtpm, end with it. Where another program than a QEMU may listen, a QEMU's command line
  // must name the socket as a monitor; until that is known, it is looked for later.
  bool MayConnect(SocketSlot* slot, const Manager* owner);
  // Reports that the monitor is `owner`'s, and looks again later.
  void LeaveToManager(SocketSlot* slot, const Manager& owner);
  void OnNotConnected(SocketSlot* slot, int error);
  void Attach(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket);
  // Returns whether `peer`, who listens, is a QEMU: by its name or, where it was given another one,
  // by its command line, which is read for the next attempt.
  bool IsQemuAt(SocketSlot* slot, const PeerProcess& peer) const;

  // QEMUs that share a path, and sockets named after another VM: path_conflicts.h.
  // Looks for them after that time, or earlier.
  void CheckPathsIn(absl::Duration delay);
  void CheckPaths();
  // Reports them as the problems of VMs, and QEMUs that cannot be followed as sockets without a VM.
  void ReportPathConflicts(const std::vector<CommandLines::Monitors::Qemu>& qemus);
  void SetPathProblem(QmpRun* run, const std::string& problem);

  // Runs.
  // `run`, if it is this source's.
  QmpRun* Own(VmRun* run) const;
  // The run of the process behind the slot's socket, made if need be. Null: it cannot be followed.
  QmpRun* RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer);
  RunInfo Describe(const SocketSlot& slot, const SeenSocket& seen, const PeerProcess& peer);
  QmpRun* AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<QmpRun> run);
  // Makes `slot` a way to `run`, or to none.
  void SetRun(SocketSlot* slot, QmpRun* run);
  // Saves by which socket, of which user, the run was attached.
  void SetSocket(QmpRun* run, SocketSlot* slot, const SeenSocket& seen);
  void ForgetSocket(QmpRun* run);
  // Nothing more can come of an untracked run whose connection is closed and whose socket is gone.
  static void EndUntrackedRun(SocketSlot* slot);

  RunContext* const context_;
  RunTable* const table_;
  const std::vector<WatchSpec>& watches_;
  absl::flat_hash_map<absl::string_view, std::unique_ptr<SocketSlot>> slots_;  // SocketSlot::path
  MonitorBudget budget_;
  // These may be on the call stack until the turn of the loop ends.
  std::vector<std::unique_ptr<SocketSlot>> dropped_slots_;
  std::vector<std::unique_ptr<MonitorConnection>> closed_connections_;
  absl::flat_hash_map<InodeKey, QmpRun*> by_socket_;  // that was attached by each socket last
  // By spec, those of other directories first: see ThreadOf().
  std::vector<std::unique_ptr<DirectoryThread>> threads_;
  std::vector<Attempts> attempts_;
  uint64_t last_attempt_ = 0;
  bool first_scan_done_ = false;
  TimerId path_check_;
  absl::Duration path_check_at_ = absl::InfiniteDuration();
  // A read of all QEMUs' command lines, while the check waits for it until that time.
  std::shared_ptr<const CommandLines::Monitors> qemus_;
  absl::Duration qemus_due_;
  bool has_path_conflicts_ = false;  // at the last check
  std::unique_ptr<DirectoryWatcher> directories_;

  mutable Mutex mutex_;
  std::vector<v1::WatchedDirectory> watched_ ABSL_GUARDED_BY(mutex_);
  // By the raw bytes of their paths.
  std::map<std::string, v1::UnfollowedSocket> unfollowed_ ABSL_GUARDED_BY(mutex_);
  // By their process: QEMUs whose path leads to another one.
  std::map<int64_t, v1::UnfollowedSocket> hidden_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
