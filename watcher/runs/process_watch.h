#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/process.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

class VmRun;

// The counts of OOM kills that the kernel has for each cgroup with a memory controller (`oom_kill`
// in memory.events, where those of the cgroups below count as well; in memory.oom_control of v1). A
// process that the kernel kills because the cgroup or the node is out of memory is counted in its
// own cgroup.
class OomCounters {
 public:
  // `root` stands before every path, for tests.
  explicit OomCounters(std::string root = "") : root_(std::move(root)) {}

  struct Count {
    std::string file;  // the file that has it
    uint64_t kills = 0;
  };
  // The count that the end of `pid` would raise; unset: not known.
  std::optional<Count> Find(int64_t pid) const;

  // Reads `file` again; unset: it cannot be read, because the cgroup was removed, which its manager
  // may do as soon as it is empty. The parent's count does not replace it: that one counts all the
  // VMs beside it.
  std::optional<uint64_t> Read(const std::string& file) const;

 private:
  const std::string root_;
};

// State shared by all process watches of one loop. Outlives them.
struct ProcessContext {
  EventLoop* loop = nullptr;
  ExitStatusReader* exit_statuses = nullptr;
  // Null: SignalWatch reports the kernel's OOM victims.
  const OomCounters* oom_counters = nullptr;
  SignalWatch* signals = nullptr;
  HostWatch* host = nullptr;
  int vm_descriptors = 0;  // that runs hold
};

// Returns the facts that a run needs of `process`, which is tracked. Null `oom_counters`: nothing
// counts OOM kills.
ProcessInfo DescribeProcess(const PeerProcess& process, const OomCounters* oom_counters);

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
  bool end_unseen() const { return end_unseen_; }
  // Releases the process, and takes another one's facts in its place.
  void Reset(const ProcessInfo& info);
  // Releases the process, which is followed, to the caller.
  PeerProcess Take();

  // After OnProcessGone: finds out how it ended, at once or after a moment, and calls OnProcessEnd.
  void AwaitEnd();
  // Returns the end of the process of which `zombie` is left, as nobody watched it.
  ProcessEnd EndOfZombie(const PeerProcess& zombie);

  // The process lives, and so all OOM kills that its cgroup counts were of others. Returns their
  // number if it has changed.
  std::optional<uint64_t> ReadOomKillsOfOthers();
  // One of the `kills` that its cgroup counts was of another process. Returns how many were.
  uint64_t DiscountOomKill(uint64_t kills) { return oom_kills_ = std::min(oom_kills_ + 1, kills); }

  // A process is followed, or has ended and its end was not found out yet.
  bool followed() const { return pidfd_.valid(); }
  // OnProcessGone was called.
  bool gone() const { return gone_; }
  // The process has ended, whether or not the loop has noticed.
  bool ended() const { return gone_ || (pidfd_.valid() && HasEnded(pidfd_.get())); }

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
  std::optional<uint64_t> ReadOomKills() const;
  bool MayBeAnothers();
  ProcessEnd EndOf(const std::optional<ExitStatus>& status);

  ProcessContext* const context_;
  VmRun* const run_;
  int64_t pid_ = 0;
  uint64_t start_ticks_ = 0;
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
