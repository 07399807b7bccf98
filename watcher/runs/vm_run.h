#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/detached_threads.h"
#include "base/event_loop.h"
#include "base/receiving_socket.h"
#include "base/system.h"
#include "base/uuid.h"
#include "vmeventd/internal/run_state.pb.h"
#include "watcher/core/run_info.h"
#include "watcher/core/specs.h"
#include "watcher/core/vm_event.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

class CommandLines;
class LibvirtApi;
class RunSource;
class RunTable;

// Reads what QEMUs wrote last, and what else is left of a process that is gone: in libvirt's logs,
// systemd's journal, and the files of standard errors. A file system decides how long that takes,
// so that threads of its own read; nobody has to wait for them. A thread at a time.
class LastWordsReader {
 public:
  static constexpr int kMaxThreads = 8;
  static constexpr size_t kMaxWaiting = 1024;
  // Longest time that a reader looks for words, which systemd and libvirt may write late.
  static constexpr absl::Duration kPatience = absl::Milliseconds(150);

  // Directories in which managers have a NAME.log for each QEMU.
  struct Logs {
    std::string libvirt = "/var/log/libvirt/qemu";
    std::string ganeti = "/var/log/ganeti/kvm";
  };

  // `max_files`: limit of descriptors that its trails hold.
  explicit LastWordsReader(int max_files) : LastWordsReader(max_files, Logs(), kPatience) {}
  LastWordsReader(int max_files, Logs logs, absl::Duration patience);

  // The files of a process that were opened while it lived.
  struct Trail;
  // Begins to look at the process of `run`, which lives.
  std::shared_ptr<const Trail> Begin(const RunInfo& run);
  // Returns whether it was looked at.
  static bool IsReady(const Trail& trail);

  // A read, which nobody has to wait for.
  struct Read {
    std::string core;                // where its core is; at once, as no file system decides it
    v1::ShutdownDetail facts;        // its last words and numbers; once done
    std::atomic<bool> done = false;  // set last: then `facts` does not change
  };
  // Begins to read what the process of `run`, which ended with `status`, has left. `trail` may be
  // null.
  std::shared_ptr<const Read> BeginRead(const RunInfo& run, const std::optional<ExitStatus>& status,
                                        std::shared_ptr<const Trail> trail);

 private:
  const Logs logs_;
  const absl::Duration patience_;
  const std::shared_ptr<std::atomic<int>> files_left_;
  DetachedThreads threads_;
};

// An open run as a daemon that stops hands it to the next one, in addition to its saved state: with
// the connection to its monitor, from which nobody has read since, and the pidfd of its process.
struct HandedRun {
  // Limit of `state.unhandled`.
  static constexpr size_t kMaxUnhandled = 64 << 10;

  internal::HandedRun state;
  UniqueFd connection;  // none: libvirt reports it
  UniqueFd process;     // none: the process is not tracked
};

struct WatcherOptions {
  std::vector<WatchSpec> watches;
  std::vector<LibvirtSpec> libvirts;
  std::shared_ptr<LibvirtApi> libvirt_api;  // API to reach them; null: there are none
  bool process_tracking = true;
  // Command lines of QEMUs; null: what they say is asked. Only with process tracking.
  std::shared_ptr<CommandLines> command_lines;
  bool watch_manager_sockets = false;  // connect to the monitors that managers need themselves, too
  // Last words of QEMUs; null: nobody reads them.
  std::shared_ptr<LastWordsReader> last_words;
  SignalTracing signals;  // only with process tracking
  // Source of the host's shutdown, or for people why there is none; both empty: nobody wanted
  // it.
  struct HostShutdown {
    std::shared_ptr<HostShutdownApi> source;
    std::string problem;
  } host_shutdown;
  SessionOptions session;
  absl::Duration greeting_timeout = absl::Seconds(3);
  absl::Duration directory_patience = DirectoryThread::kPatience;
  // The QEMUs that ran at the start; null: none is held. Emptied by the first turn of the loop.
  std::shared_ptr<HeldProcesses> held_processes;
  // The open runs of the daemon before this one, as VmUpdate::saved_run had them. The first turns
  // of the loop publish of each that it continues (its status, with its saved_run, which the
  // journal may lack) or has ended (STOPPED).
  std::vector<std::string> saved_runs;
  // There was a daemon before this one: what it left is not all that happened meanwhile, unless it
  // handed over everything.
  bool follows_another = false;
  // It handed its log over, and with it all of its open runs.
  bool is_handover = false;
  // Runs that the daemon before this one has handed over; null: nothing. Taken by
  // the first turn of the loop.
  std::shared_ptr<std::vector<HandedRun>> handed_runs;
  // Its NodeWatcher::exit_status_socket(), to be resumed for these runs; null: none. Taken by
  // NodeWatcher::Create.
  std::shared_ptr<UniqueFd> handed_exits;
  // Descriptors that VMs may hold together; beyond it a VM is listed with a problem and retried.
  int max_vm_descriptors = 1 << 20;
  // The only source of exit statuses to try, for tests. Unset: the best that there is.
  std::optional<ExitStatusSource> exit_status_source;
};

// Counters of the connections and runs of one watcher. The loop thread counts, any thread reads.
struct WatcherMeters {
  Counter connect_retries;     // after a connect was refused or found a full queue
  Counter monitor_reconnects;  // monitors that answered again after their connection had ended
  Counter monitors_lost;
  Counter protocol_errors;  // connections that were closed because what came was not QMP
  Counter out_of_descriptors;
  Counter rate_limited_events;  // not published; a GAP has their number
  Counter shutdown_file_errors;
  Counter unreadable_runs;    // unreadable ones of WatcherOptions::saved_runs
  Counter libvirt_connects;   // connections to libvirt that were made
  Counter libvirt_failures;   // connections that failed or were lost
  Counter libvirt_overflows;  // those of them cut at the backlog limit
  Counter connects_put_off;   // delayed: too many sockets waited to be closed
  Counter handovers;          // runs that continued with what the previous daemon handed over
  Counter handovers_refused;  // handed-over runs that could not be continued
};

// State shared by all runs of one watcher. Outlives them.
struct RunContext {
  EventLoop* loop = nullptr;
  ExitStatusReader* exit_statuses = nullptr;
  // Null: SignalWatch reports the kernel's OOM victims.
  const OomCounters* oom_counters = nullptr;
  SignalWatch* signals = nullptr;
  HostWatch* host = nullptr;
  const WatcherOptions* options = nullptr;
  WatcherMeters meters;
  // WatcherCounters::shutdown_file_times.
  LatencyHistogram shutdown_file_times;
  std::string boot_id;         // the kernel's; empty: not known
  uint64_t pid_namespace = 0;  // this process's; 0: not known
  int vm_descriptors = 0;      // that runs hold
  int max_vm_descriptors = 0;  // limit for all runs together
  SocketCloser closer;         // closes connections to monitors

  // Names a run that is seen now for the first time: by its process, or else by the time, which is
  // another one for each, and by `socket_inode`.
  std::string NewRunId(const ProcessInfo& process, absl::string_view monitor_path,
                       uint64_t socket_inode);
  int64_t last_first_seen_ns = 0;  // since 1970
};

// Ganeti's legacy shutdown file, NAME.shutdown in the directory of the VM's sockets: its presence
// says that the user shut the VM down from inside. `vm_name` is raw bytes. Errors name the file
// and the errno; EMFILE and ENFILE are RESOURCE_EXHAUSTED. Nothing here follows a link at the
// file's place or waits for anything but the file system, on the thread of its directory.

// Creates the file, empty, with mode 0644 whatever the umask, or renews the times of one that is
// there. Refuses anything there that is no regular file; a file that has another link is replaced.
absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name);

// Removes the file; that there is none is success.
absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name);

inline constexpr char kOutOfDescriptorsProblem[] =
    "out of file descriptors: the VM is not followed; raise LimitNOFILE of the service";

// One VmSession with what it needs of the outside, whatever its source is: the watch of its
// process, a timer, and the shutdown file. Carries out the session's effects, in order. A source
// derives from it, asks QEMU what the session wants to know, and hands in what QEMU says. Loop
// thread.
class VmRun {
 public:
  // `context` and `table`, which is or will be the run's, outlive it.
  VmRun(RunContext* context, RunTable* table, VmSession session);
  virtual ~VmRun();

  // Begins to wait for the end of `process`, which is tracked, and whose facts the session has.
  absl::Status Track(PeerProcess process);
  // Looks for the process of a restored run: tracks it, or ends the run if it has ended. False:
  // that takes a descriptor, and there is none.
  bool FindProcess();
  // Looks for the process from time to time, until it is found.
  void FindProcessLater();
  // Tracks the process that the daemon before this one has handed over, which may have ended since.
  // INVALID_ARGUMENT: `pidfd` is another process's.
  absl::Status TrackHanded(UniqueFd pidfd);
  // Tracks `process` in place of the one that it followed, if any.
  absl::Status TrackInstead(PeerProcess process);
  // Ends a run of which nothing was published.
  void Discard();

  // Inputs of a restored run: it is open, its process cannot be followed any more.
  void Resume();
  void LoseTracking();

  // Hands `input` to the session, and carries out what it wants; nothing if the run is over.
  void Hand(const Input& input) {
    if (!over_) Apply(session_.On(input, Now()));
  }
  // Reports the present problem of the monitor; empty: it has none.
  void ReportProblem(const Problem& problem) { Hand(input::MonitorProblem{problem}); }
  // Ends a run that is not tracked, or was restored and has no process any more.
  void End(const ProcessEnd& end = {});
  // The end waits for QEMU's last words no longer.
  void DropWords() {
    if (words_.has_value()) FinishWords();
  }

  // Returns whether the process has not ended. All that QEMU has said by now has been handed in
  // then.
  bool Lives();
  absl::Status CheckIntent() const { return session_.CheckIntent(Now()); }
  // Calls `done` when all that was published of the run by now is public.
  void Confirm(std::function<void()> done);
  // Declares `intent` for a run for which CheckIntent() is OK and no intent is open. Calls `done`
  // when that is public.
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

  // The source's part.

  // Returns whether a connection to its monitor is there.
  virtual bool connected() const = 0;
  // Hands its process, and its connection if it can be, to the next daemon: the last use of the
  // run, with what it publishes. Unset, and nothing is done: that is not possible now.
  virtual std::optional<HandedRun> HandOver() = 0;
  // Continues, as a restored run, where the daemon before this one stopped, with what that has
  // handed over. False: it cannot, and is as before; descriptors that are left in `handed` are the
  // caller's.
  virtual bool ResumeFrom(HandedRun* handed) = 0;
  // Hands in what QEMU has said by now.
  virtual void ReadNow() = 0;

 protected:
  // The process has ended; a zombie has. Hands in what QEMU said before, and then has process()
  // find out how it ended, or replaces it.
  virtual void OnProcessGone() = 0;
  // Asks QEMU, where it can be asked; the answer is an input.
  virtual void Ask(Question question) = 0;
  // The run is over: closes what it has.
  virtual void Disconnect() = 0;
  // A check on the directory's thread of whether no later run has the VM's name: the shutdown file
  // is that run's then. Null: it has no such file, or that is known.
  virtual std::function<bool()> OwnsName() const { return nullptr; }
  // The thread of a run with a shutdown file.
  virtual DirectoryThread* Thread() const { return nullptr; }

  // Hands in what QEMU said.
  void HandleQmpEvent(const QmpEvent& event);
  // An OOM kill up to now was not of the process, if that lives.
  void ReadOomKills();
  // Gives the next daemon the process.
  void HandOverTo(HandedRun* handed);
  void Apply(Effects effects);

  RunContext* const context_;

  ProcessWatch& process() { return process_; }
  Instant Now() const { return context_->loop->Now(); }
  bool over() const { return over_; }

 private:
  friend class ProcessWatch;
  friend class RunTable;

  void TouchShutdownFile(bool there);
  void OnFileTouched(const std::optional<absl::Status>& status, absl::Duration begun);
  // The run is over.
  void Leave();
  // Tracks the process of a restored run, which lives.
  absl::Status TrackAgain(PeerProcess process);
  void ArmTick();
  void AwaitWords();
  // Hands in what was read by now.
  void FinishWords();
  void CancelTimers();

  // While QEMU's last words are read.
  struct WordsWait {
    std::shared_ptr<const LastWordsReader::Read> read;
    absl::Duration deadline;
    TimerId timer;
  };

  RunTable* const table_;
  VmSession session_;
  ProcessWatch process_;
  std::shared_ptr<const LastWordsReader::Trail> trail_;  // of its process; null: none
  Rare<WordsWait> words_;
  TimerId tick_timer_;
  TimerId find_timer_;
  uint64_t limited_events_ = 0;  // the session's that were counted
  bool published_ = false;
  bool over_ = false;
  uint8_t touches_ = 0;  // under way; the outcome of the last one counts
  // State of the table:
  RunSource* source_ = nullptr;
  std::optional<Uuid> indexed_uuid_;
  std::optional<ProcessKey> indexed_process_;
};

}  // namespace vmeventd
