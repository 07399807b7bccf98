#pragma once

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_watch.h"
#include "watcher/runs/process.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

class VmRun;

// State shared by all process watches of one loop. Outlives them.
struct ProcessContext {
  EventLoop* loop = nullptr;
  ExitStatusReader* exit_statuses = nullptr;
  const OomCounters* oom_counters = nullptr;
  OomWatch* oom_watch = nullptr;
  SignalWatch* signals = nullptr;
  HostWatch* host = nullptr;
  int vm_descriptors = 0;  // that runs hold
};

// Returns the facts that a run needs of `process`, which is tracked.
ProcessInfo DescribeProcess(const PeerProcess& process, const OomCounters& oom_counters);

// Follows one process by its pidfd and finds out how it ended: its exit status, and whether the
// kernel killed it because its cgroup was out of memory; and who sent it signals. Calls its run,
// from the loop and from within AwaitEnd. Loop thread.
class ProcessWatch : public FdHandler, public SignalWatch::User {
 public:
  // `info` is the process that is to be followed, or was by a daemon before this one. `context` and
  // `run` outlive the watch.
  ProcessWatch(ProcessContext* context, VmRun* run, const ProcessInfo& info);
  ~ProcessWatch() override;

  // Begins to wait for the end of `process`, which is tracked and is that of `info`. An error names
  // the system call that failed; nothing is followed then.
  absl::Status Follow(PeerProcess process);
  // The process has begun its work, as QEMU has with its first answer: after -runas.
  void NoteBegun() { context_->signals->NoteBegun(pid_, this); }
  // If the process, which is followed, has ended or is about to: nobody watched then.
  void NoteUnseenEnd() { end_unseen_ = HasEnded(pidfd_.get()) || IsDying(pid_); }
  // Until NoteUnseenEnd() its end is one of these.
  void ExpectUnseenEnd() { end_unseen_ = true; }
  bool end_unseen() const { return end_unseen_; }
  // Lets go of the process, and takes another one's facts in its place.
  void Reset(const ProcessInfo& info);
  // Lets go of the process, which is followed, and gives it away.
  PeerProcess Take();

  // After OnProcessGone: finds out how it ended, at once or after a moment, and calls OnProcessEnd.
  void AwaitEnd();
  // Returns the end of the process of which `zombie` is left, as nobody watched it.
  ProcessEnd EndOfZombie(const PeerProcess& zombie);

  // Reads the OOM count of the process's cgroup while it lives: what was counted was another's.
  // Follows and unfollows nothing.
  void OnOomCountChanged();
  // One of the `kills` that its cgroup counts was of another process.
  void DiscountOomKill(uint64_t kills) { oom_kills_ = std::min(oom_kills_ + 1, kills); }

  // A process is followed, or has ended and its end was not found out yet.
  bool followed() const { return pidfd_.valid(); }
  int descriptor() const { return pidfd_.get(); }
  // OnProcessGone was called.
  bool gone() const { return gone_; }
  // The process has ended, whether or not the loop has noticed.
  bool ended() const { return gone_ || (pidfd_.valid() && HasEnded(pidfd_.get())); }
  // Key of the process, followed or not; unset where it has none (KeyOf).
  std::optional<ProcessKey> key() const {
    if (pidfd_inode_ != 0) return ProcessKey{.pidfd_inode = pidfd_inode_};
    if (pid_ == 0) return std::nullopt;
    return ProcessKey{.pid = pid_, .start_ticks = start_ticks_};
  }

  void OnFdReady(uint32_t events) override;
  void OnSignal(const SignalSender& sender) override;
  void OnUnclearSignal(int signal, const std::string& why) override;
  void OnOomVictim(const OomVictim& victim) override;

 private:
  UniqueFd Release();
  void AskExitStatus();
  ExitStatusReader::Answer ExitStatusOf(int pidfd, int64_t pid, uint64_t start_ticks) {
    return context_->exit_statuses->Ask(pidfd, pid, start_ticks);
  }
  std::optional<uint64_t> ReadOomKills();
  bool MayBeAnothers();
  ProcessEnd EndOf(const std::optional<ExitStatus>& status);

  ProcessContext* const context_;
  VmRun* const run_;
  int64_t pid_ = 0;
  uint64_t start_ticks_ = 0;
  uint64_t pidfd_inode_ = 0;
  std::string oom_file_;
  uint64_t oom_kills_ = 0;  // of the cgroup's, that were of others
  UniqueFd pidfd_;
  bool gone_ = false;
  bool end_unseen_ = false;
  bool kill_seen_ = false;    // OnSignal() had a SIGKILL
  std::string kill_unclear_;  // why, where OnUnclearSignal() had one
  // While the kernel is asked for the exit status again.
  struct StatusWait {
    TimerId timer;
    absl::Duration deadline;
    absl::Duration backoff;
  };
  Rare<StatusWait> status_wait_;
};

}  // namespace vmeventd
