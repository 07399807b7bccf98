#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/rare.h"
#include "base/unique_fd.h"
#include "watcher/core/problem.h"
#include "watcher/core/process_end.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/last_words.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/runs/run_context.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

class RunTable;

// One VmSession with what it needs from the outside, the same for each source: the watch of its
// process, a timer, and the shutdown file. Carries out the session's effects, in order. Each source
// derives its own class, which asks QEMU the session's questions and passes QEMU's input to the
// session. Loop thread.
class VmRun {
 public:
  // `context` and `table`, to which the run is added, outlive it.
  VmRun(RunContext* context, RunTable* table, VmSession session);
  virtual ~VmRun();

  // Begins to wait for the end of `process`, which is tracked, and whose facts the session has.
  absl::Status Track(PeerProcess process);
  // Looks for the process of a restored run: tracks it, or ends the run if it has ended. False: no
  // descriptor was left for it.
  bool FindProcess();
  // Looks for the process from time to time, until it is found.
  void FindProcessLater();
  // Tracks the process that the previous daemon handed over, which may have ended since.
  // INVALID_ARGUMENT: `pidfd` is another process's.
  absl::Status TrackHanded(UniqueFd pidfd);
  // Tracks `process` in place of the one that it followed, if any.
  absl::Status TrackInstead(PeerProcess process);
  // Ends a run of which nothing was published.
  void Discard();

  // For a restored run. Resume(): it is still open. LoseTracking(): its process can no longer be
  // followed.
  void Resume();
  void LoseTracking();

  // Passes `input` to the session, and carries out its effects. No-op if the run is over.
  void Feed(const Input& input) {
    if (!over_) Apply(session_.On(input, Now()));
  }
  // Reports the present problem of the monitor; empty: it has none.
  void ReportProblem(const Problem& problem) { Feed(input::MonitorProblem{problem}); }
  // Ends a run that is not tracked, or was restored and has no process any more.
  void End(const ProcessEnd& end = {});
  // Ends the run without waiting any longer for QEMU's last words.
  void DropWords() {
    if (words_.has_value()) FinishWords();
  }

  // Passes all that QEMU has sent by now to the session, and returns whether the process still
  // lives.
  bool Lives();
  absl::Status CheckIntent() const { return session_.CheckIntent(Now()); }
  // Calls `done` when all that was published of the run by now is public.
  void Confirm(std::function<void()> done);
  // Declares `intent` for a run without an open intent, after CheckIntent() returned OK. Calls
  // `done` when that is public.
  void DeclareIntent(const v1::Intent& intent, std::function<void()> done);
  // Withdraws the open intent of a run that has one.
  void WithdrawIntent(std::function<void()> done);

  const VmSession& session() const { return session_; }
  const RunInfo& info() const { return session_.run(); }
  // Directory of its socket and its shutdown file.
  std::string Directory() const;
  bool tracked() const { return info().process_tracked; }
  bool followed() const { return process_.followed(); }
  // Returns whether the process that it follows has ended.
  bool process_ended() const { return process_.ended(); }
  // Returns whether its process is known to be gone, and its end may not have been published yet.
  bool ends() const { return process_.gone() || session_.gone(); }
  // Returns whether the sink knows of it.
  bool published() const { return published_; }

  // Implemented by the source.

  // Returns whether its monitor is connected.
  virtual bool connected() const = 0;
  // Hands its process, and its connection if possible, to the next daemon. The last use of the run,
  // after input::DaemonStops. Unset, and nothing is done: not possible now.
  virtual std::optional<HandedRun> HandOver() = 0;
  // Continues a restored run where the previous daemon stopped, with what that handed over. False:
  // it cannot, and is unchanged; descriptors that are left in `handed` belong to the caller.
  virtual bool ResumeFrom(HandedRun* handed) = 0;
  // Passes all that QEMU has sent by now to the session.
  virtual void ReadNow() = 0;

 protected:
  // Called when the process has ended; a zombie counts as ended. Must pass the input that QEMU sent
  // before to the session, and then let process() find out how it ended, or replace the process.
  virtual void OnProcessGone() = 0;
  // Asks QEMU, if it can be asked; the answer comes as an input.
  virtual void Ask(Question question) = 0;
  // Called when the run is over: closes its connections.
  virtual void Disconnect() = 0;
  // Returns a check, for the directory's thread, that no later run has the VM's name; else the
  // shutdown file is that run's. Null: this run has no such file, or a later run is known.
  virtual std::function<bool()> OwnsName() const { return nullptr; }
  // Returns the thread of the run's directory; null: the run has no shutdown file.
  virtual DirectoryThread* Thread() const { return nullptr; }

  // Passes an event of QEMU to the session.
  void HandleQmpEvent(const QmpEvent& event);
  // If the process lives, records that the OOM kills up to now were not of it.
  void ReadOomKills();
  // Passes the process to the next daemon.
  void HandOverTo(HandedRun* handed);
  void Apply(Effects effects);

  RunContext* const context_;

  ProcessWatch& process() { return process_; }
  Instant Now() const { return context_->loop->Now(); }
  bool over() const { return over_; }

 private:
  friend class ProcessWatch;

  void TouchShutdownFile(bool there);
  void OnFileTouched(const std::optional<absl::Status>& status, absl::Duration begun);
  // The run is over.
  void Leave();
  // Tracks the process of a restored run, which lives.
  absl::Status TrackAgain(PeerProcess process);
  void ArmTick();
  void AwaitWords();
  // Passes the last words that were read by now to the session.
  void FinishWords();
  void CancelTimers();

  // State while QEMU's last words are read.
  struct WordsWait {
    std::shared_ptr<const LastWordsReader::Read> read;
    absl::Duration deadline;
    TimerId timer;
  };

  RunTable* const table_;
  VmSession session_;
  ProcessWatch process_;
  std::shared_ptr<const LastWordsReader::Trail> trail_;  // trail of its process; null: none
  Rare<WordsWait> words_;
  TimerId tick_timer_;
  TimerId find_timer_;
  uint64_t limited_events_ = 0;  // the session's count at the last look
  bool published_ = false;
  bool over_ = false;
  uint8_t file_changes_ = 0;  // changes of NAME.shutdown under way; the last outcome counts
};

}  // namespace vmeventd
