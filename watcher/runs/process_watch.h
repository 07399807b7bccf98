#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/rare.h"
#include "base/unique_fd.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/process_end.h"
#include "watcher/core/signal_sender.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/peer_process.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

struct RunContext;
class VmRun;

// Follows one process by its pidfd and finds out how it ended: its exit status, and whether the
// kernel killed it because its cgroup was out of memory; and who sent it signals. Calls its run,
// from the loop and from within AwaitEnd. Loop thread.
class ProcessWatch : public FdHandler, public SignalWatch::User {
 public:
  // The process is the one of the run's RunInfo. `context` and `run` outlive the watch.
  ProcessWatch(RunContext* context, VmRun* run) : context_(context), run_(run) {}
  ~ProcessWatch() override;

  // Begins to wait for the end of `process`, which is tracked. An error names the system call that
  // failed; nothing is followed then.
  absl::Status Follow(PeerProcess process);
  // Reads again as which user and in which cgroup the process runs. Call it at QEMU's first answer:
  // then QEMU has changed to the user of -runas.
  void RefreshOrigin();
  // Marks the end of the followed process as unseen, if it has ended or is about to end.
  void NoteUnseenEnd();
  // Call it when the process is followed again: if it has ended already, or is about to end, marks
  // its end as unseen and late.
  void NoteFound();
  // Releases the process: RunInfo names another one next, or none.
  void Reset();
  // Releases the pidfd, if there is one, to the caller.
  UniqueFd Release();

  // Finds out how it ended, at once or after a moment, and ends the run. Call it after
  // OnProcessGone.
  void AwaitEnd();
  // Returns the end of a process that nobody watched and of which `zombie` is left.
  ProcessEnd EndOfZombie(const PeerProcess& zombie);

  // Call it while the process lives: all OOM kills that its cgroup counts were then of others.
  // Returns their number if it has changed.
  std::optional<uint64_t> ReadOomKillsOfOthers() const;

  // Returns whether a process is followed, or has ended and its exit status is not known yet.
  bool followed() const { return pidfd_.valid(); }
  // Returns whether OnProcessGone was called.
  bool gone() const { return gone_; }
  // Returns whether the process has ended, even if the loop has not noticed yet.
  bool ended() const { return gone_ || (pidfd_.valid() && HasEnded(pidfd_.get())); }

  void OnFdReady(uint32_t events) override;
  void OnSignal(const SignalSender& sender) override;
  void OnUnclearSignal(int signal, const std::string& why) override;
  void OnOomVictim(const OomVictim& victim) override;

 private:
  void AskExitStatus();
  ExitStatusReader::Answer AskNow() const;
  std::optional<uint64_t> ReadOomKills() const;
  bool MayBeAnothers() const;
  ProcessEnd EndOf(const std::optional<ExitStatus>& status);

  RunContext* const context_;
  VmRun* const run_;
  UniqueFd pidfd_;
  bool gone_ = false;
  bool end_unseen_ = false;
  bool found_ended_ = false;
  std::string kill_unclear_;  // the reason that OnUnclearSignal() got; empty: none
  // State while the kernel is asked again for the exit status.
  struct StatusWait {
    TimerId timer;
    absl::Duration begin;
    absl::Duration backoff;
  };
  Rare<StatusWait> status_wait_;
};

}  // namespace vmeventd
