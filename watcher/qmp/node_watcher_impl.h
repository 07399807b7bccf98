#ifndef VMEVENTD_WATCHER_QMP_NODE_WATCHER_IMPL_H_
#define VMEVENTD_WATCHER_QMP_NODE_WATCHER_IMPL_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "watcher/loop/event_loop.h"
#include "watcher/qmp/directory_watcher.h"
#include "watcher/qmp/inode_claims.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/node_watcher.h"
#include "watcher/qmp/run_limiter.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/qmp/uuid_index.h"
#include "watcher/qmp/vm_run.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/oom_watch.h"
#include "watcher/runs/process.h"

// The inside of NodeWatcher, for its own files alone.

namespace vmeventd {

inline constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
inline constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// A socket file that a killed QEMU left refuses for ever.
inline constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// After the end of a monitor that worked: mostly its process is about to go.
inline constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
inline constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// A monitor that answered for so long has earned a quick reconnect.
inline constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

inline constexpr char kOutOfDescriptors[] =
    "out of file descriptors: the VM is not followed; raise LimitNOFILE of the service";
inline constexpr char kOutOfShare[] =
    "the VMs of this socket's user or directory have three quarters of the file descriptors: the "
    "VM "
    "is not followed; raise LimitNOFILE of the service";
inline constexpr char kListenerGone[] =
    "the process that listened on the monitor's socket is gone, and the socket still accepts";
inline constexpr char kTooManyNewRuns[] =
    "too many VMs of this socket's user started: the VM is followed later";
// Sockets of one process beside the one that it is followed by.
inline constexpr size_t kMaxWays = 8;

// Of an errno.
inline bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

inline std::string ForLog(absl::string_view raw) { return absl::CHexEscape(raw); }

// A run, and what the watcher knows of it beyond its session.
struct FollowedRun {
  std::unique_ptr<VmRun> run;
  SocketSlot* slot = nullptr;  // where it was found first: that names it
  // The slots whose `run` it is, and the one of them that it was attached by last, if that is left.
  std::vector<SocketSlot*> ways;
  SocketSlot* attached_by = nullptr;
  uint32_t owner = 0;  // the user whose socket it was found at
  int spec = -1;       // that the socket belongs to
  std::optional<Uuid> uuid;
};

// Connects to the sockets (node_watcher.cc), and knows the runs behind them
// (node_watcher_runs.cc), what somebody intends with them (node_watcher_intents.cc), and those that
// a daemon before this one left (node_watcher_restore.cc).
class NodeWatcherImpl : public NodeWatcher, public DirectoryWatcher::Delegate, public VmRun::Owner {
 public:
  NodeWatcherImpl(WatcherOptions options, std::vector<std::string> saved_runs, EventSink* sink,
                  std::unique_ptr<EventLoop> loop, std::unique_ptr<OomWatch> oom_watch);
  ~NodeWatcherImpl() override;
  absl::Status WatchDirectories();

  void RunOnce(absl::Duration timeout) override;
  void Wake() override { loop_->Wake(); }
  void TellRunsAgain() override;
  void DeclareIntent(IntentRequest request,
                     std::function<void(absl::StatusOr<Intent>)> done) override;
  void WithdrawIntent(std::string intent_id, std::function<void(absl::Status)> done) override;
  std::string exit_status_source() const override;
  bool first_scan_done() const override { return first_scan_done_; }
  WatcherCounters counters() const override;
  std::vector<UnfollowedSocket> unfollowed_sockets() const override;

 private:
  void OnSocket(int spec, const std::string& file_name) override;
  void OnSocketGone(int spec, const std::string& file_name) override;
  void OnDirectories(std::vector<WatchedDirectory> directories) override;

  void OnPublish(VmRun* run, VmUpdate update) override;
  void OnMonitorReady(VmRun* run, const std::string& uuid) override;
  void OnMonitorEnded(VmRun* run, VmRun::MonitorEnd end, absl::Duration answered_for) override;
  bool OnSpeaker(VmRun* run, int64_t pid) override;
  VmRun::Listener ConnectAgain(const VmRun* run, UniqueFd* connection,
                               SocketIdentity* identity) override;
  void OnFollowed(VmRun* run, const ProcessKey& key) override;
  void OnUnfollowed(VmRun* run, const ProcessKey& key) override;
  bool OwnsName(const VmRun* run) const override;
  void OnOomKill(VmRun* run, uint64_t kills) override;
  void OnOver(VmRun* run) override;

  std::string PathOf(int spec, const std::string& file_name) const;
  // The --watch that `path` belongs to; -1 without one.
  int SpecOf(const std::string& path) const;
  // Finds the slot of that path, or makes it.
  SocketSlot* SlotAt(std::string path);
  void DropSlotIfUnused(SocketSlot* slot);
  std::string RawVmName(const SocketSlot& slot) const;

  void Schedule(SocketSlot* slot, absl::Duration delay);
  void ScheduleAll(const std::vector<SocketSlot*>& slots);
  // Schedules with twice the last wait, at least `first` and at most `limit`.
  void BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit);
  void TryConnect(SocketSlot* slot);
  void OnConnectError(SocketSlot* slot, int error);
  void Attach(SocketSlot* slot, const SocketFile& file, UniqueFd socket);
  void OnListenerGone(SocketSlot* slot);
  void ClaimInode(SocketSlot* slot, const SocketIdentity& socket);
  // Null: the process cannot be followed.
  VmRun* FindOrMakeRun(SocketSlot* slot, const SocketFile& file, PeerProcess peer);
  // The run that is connected by that very socket; null without one.
  VmRun* RunAttachedBy(const SocketIdentity& socket) const;
  VmRun* FindRun(const SocketSlot& slot, const SocketIdentity& socket, const PeerProcess& peer);
  std::string NewRunId(const SocketSlot& slot, const SocketIdentity& socket,
                       const PeerProcess& peer);
  VmRun* AddRun(SocketSlot* slot, uint32_t owner, std::unique_ptr<VmRun> run);
  // Makes `slot` a way to `run`, or to none.
  void SetRun(SocketSlot* slot, VmRun* run);
  // Notes by which socket the run is about to be attached.
  void NoteSocket(VmRun* run, SocketSlot* slot, const SocketFile& file);
  // Adds `change` to what its owner and its directory have.
  void CountRun(const FollowedRun& followed, int change);
  // Whether `slot` may take descriptors for a run of `owner`, without leaving too few to others.
  bool HasShare(const SocketSlot& slot, uint32_t owner) const;
  // Nothing more can come of an untracked run whose connection is closed and whose socket is gone.
  void EndUntrackedRun(SocketSlot* slot);
  FollowedRun& Followed(const VmRun* run);
  void ForgetName(VmRun* run);
  void TellProblem(SocketSlot* slot, const std::string& problem);
  void ForgetProblem(SocketSlot* slot);
  // Once all saved runs are known: before, others of a UUID may still be missing.
  void UpdateUuidProblems(const std::vector<VmRun*>& runs);
  std::string UuidProblem(const VmRun* run) const;
  void TellAllRuns();

  // Intents (node_watcher_intents.cc). `done` gets an empty intent where one was withdrawn.
  using IntentDone = std::function<void(absl::StatusOr<Intent>)>;
  struct IntentTask {
    std::optional<IntentRequest> declare;
    std::string withdraw;  // the id of the one to withdraw, if none is to be declared
    IntentDone done;
  };
  void AddIntentTask(IntentTask task);
  std::vector<IntentTask> TakeIntentTasks();
  void HandleIntents();
  void Declare(const IntentRequest& request, const IntentDone& done);
  void Withdraw(const std::string& intent_id, const IntentDone& done);
  // The run that `request` means, if it lives.
  absl::StatusOr<VmRun*> RunFor(const IntentRequest& request);

  // The runs that the daemon before this one left open. Reads them all, then finds out what became
  // of each, some a turn; returns whether that is done.
  bool RestoreSome();
  void ReadSavedRuns();
  void RefuseSavedRun(absl::string_view why, absl::string_view text);
  // Finds out whether `run` goes on.
  void Settle(VmRun* run);
  // Looks for its process; false if that takes a descriptor and there is none.
  bool FindProcess(VmRun* run);
  void FindProcesses();
  void FindProcessesLater();
  // The run goes on.
  void Resume(VmRun* run);
  // Ends the untracked runs to whose sockets no way leads back: those that the directories, which
  // have been scanned, do not have.
  void EndUnreachableRuns();

  NodeEventLimiter node_events_;
  const WatcherOptions options_;
  EventSink* const sink_;
  const std::unique_ptr<EventLoop> loop_;
  const std::string boot_id_;
  const uint64_t pid_namespace_;
  const OomCounters oom_counters_;
  const std::unique_ptr<ExitStatusReader> exit_statuses_;
  const std::unique_ptr<OomWatch> oom_watch_;
  // The run of each process that is followed.
  absl::flat_hash_map<ProcessKey, VmRun*> by_process_;
  RunContext context_;
  std::vector<std::unique_ptr<VmRun>> ended_runs_;  // may be on the call stack
  absl::flat_hash_map<absl::string_view, std::unique_ptr<SocketSlot>>
      slots_;                                               // by SocketSlot::path
  std::vector<std::unique_ptr<SocketSlot>> dropped_slots_;  // may be on the call stack
  InodeClaims claims_;
  absl::flat_hash_map<absl::string_view, FollowedRun> runs_;                  // by RunInfo::run_id
  absl::flat_hash_map<absl::string_view, std::vector<VmRun*>> runs_by_name_;  // RunInfo::name
  absl::flat_hash_map<std::string, VmRun*> intents_;  // by the id of a run's open intent
  // The run that was attached by each socket last.
  absl::flat_hash_map<InodeKey, VmRun*> by_socket_;
  absl::flat_hash_map<uint32_t, int> owner_runs_;  // by FollowedRun::owner
  absl::flat_hash_map<int, int> directory_runs_;   // by FollowedRun::spec
  RunLimiter new_runs_;
  UuidIndex uuids_;
  std::unique_ptr<DirectoryWatcher> directories_;
  int64_t last_first_seen_ns_ = 0;  // of the untracked runs: no two have the same

  // What is still to be restored: texts, then the run ids that they hold, oldest first.
  std::vector<std::string> saved_runs_;
  std::vector<std::string> unsettled_;
  size_t settled_ = 0;
  // Runs whose processes are looked for again, for want of descriptors.
  std::vector<std::string> without_process_;
  TimerId find_process_timer_;
  absl::Duration find_process_backoff_;

  bool runs_to_reach_ = false;  // untracked ones are left whose directories could not be scanned

  int untried_slots_ = 0;
  bool scanned_ = false;
  bool first_scan_done_ = false;
  std::atomic<bool> tell_runs_again_ = false;

  mutable Mutex unfollowed_mutex_;
  std::map<std::string, UnfollowedSocket> unfollowed_ ABSL_GUARDED_BY(unfollowed_mutex_);

  Mutex intents_mutex_;
  std::vector<IntentTask> intent_tasks_ ABSL_GUARDED_BY(intents_mutex_);
  // Outlives the watcher with what the sink has not told yet.
  const std::shared_ptr<std::atomic<int>> unanswered_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_NODE_WATCHER_IMPL_H_
