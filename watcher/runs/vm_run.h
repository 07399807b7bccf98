#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/receiving_socket.h"
#include "base/uuid.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

struct HandedRun;
class RunSource;

// Counters of the connections and runs of one watcher. The loop thread counts, any thread reads.
struct WatcherMeters {
  Counter connect_retries;     // after a connect was refused or found a full queue
  Counter monitor_reconnects;  // monitors that answered again after their connection had ended
  Counter monitors_lost;
  Counter protocol_errors;  // connections that were closed because what came was not QMP
  Counter out_of_descriptors;
  Counter rate_limited_events;  // left out, each counted by a GAP
  Counter shutdown_file_errors;
  Counter unreadable_runs;             // unreadable ones of WatcherOptions::saved_runs
  Counter sockets_over_process_limit;  // sockets left out: their process is at its limit
  Counter libvirt_connects;            // connections to libvirt that were made
  Counter libvirt_failures;            // connections that failed or were lost
  Counter libvirt_overflows;           // those of them cut at the backlog limit
  Counter connects_put_off;            // delayed: too many sockets waited to be closed
  Counter handovers;          // runs that went on with what the previous daemon handed over
  Counter handovers_refused;  // handed-over runs that could not go on
};

// State shared by all runs of one watcher. Outlives them.
struct RunContext : ProcessContext {
  WatcherMeters meters;
  // WatcherCounters::shutdown_file_times.
  LatencyHistogram shutdown_file_times;
  std::string boot_id;         // the kernel's; empty: not known
  uint64_t pid_namespace = 0;  // this process's; 0: not known
  int max_vm_descriptors = 0;  // limit for all runs together
  SocketCloser closer;         // closes connections to monitors

  // Returns the time of the first sight of a run whose process is not known: no two of them have
  // the same. Unix time in nanoseconds.
  int64_t NewFirstSeen() {
    last_first_seen_ns = std::max(absl::ToUnixNanos(loop->Now().wall), last_first_seen_ns + 1);
    return last_first_seen_ns;
  }
  int64_t last_first_seen_ns = 0;
};

inline constexpr char kOutOfDescriptorsProblem[] =
    "out of file descriptors: the VM is not followed; raise LimitNOFILE of the service";

// One VmSession with what it needs of the outside, whatever its source is: the watch of its
// process, a timer, and the shutdown file. Carries out the session's effects, in order. A source
// derives from it, asks QEMU what the session wants to know, and hands in what QEMU says. Loop
// thread.
class VmRun {
 public:
  // Called from within any method that hands an input to the session, and from the loop.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnPublish(VmRun* run, VmUpdate update) = 0;
    // `run` is followed by the process `key` from now on, or no longer.
    virtual void OnFollowed(VmRun* run, const ProcessKey& key) = 0;
    virtual void OnUnfollowed(VmRun* run, const ProcessKey& key) = 0;
    // Returns whether no later run has the VM's name: its shutdown file is that run's then.
    virtual bool OwnsName(const VmRun* run) const = 0;
    // One of the `kills` that its cgroup counts was that of `run`, and so of no other run there.
    virtual void OnOomKill(VmRun* run, uint64_t kills) = 0;
    // The run is over, and its end published if its start was; it takes no more input. The owner
    // keeps the object until the turn of the loop is over.
    virtual void OnOver(VmRun* run) = 0;
  };

  // `owner` and `context` outlive the run.
  VmRun(RunContext* context, Owner* owner, VmSession session);
  virtual ~VmRun();

  // Begins to wait for the end of `process`, which is tracked, and whose facts the session has.
  absl::Status Track(PeerProcess process);
  // Tracks the process of a restored run, which lives.
  absl::Status TrackAgain(PeerProcess process);
  // Tracks the process that the daemon before this one has handed over, which may have ended since.
  // INVALID_ARGUMENT: `pidfd` is another process's.
  absl::Status TrackHanded(UniqueFd pidfd);
  // Finds out whether a process that is tracked again had ended by then or was about to. A handed
  // one counts as ended until this is called, so that the slowest step need not be done at once.
  void NoteUnseenEnd();
  // Tracks `process` in place of the one that it followed, if any.
  absl::Status TrackInstead(PeerProcess process);
  // Ends a run of which nothing was published.
  void Discard();

  // Inputs of a restored run: it goes on, its process cannot be followed any more, it ended with
  // its host, its shutdown file was written then.
  void Resume();
  void LoseTracking();
  void EndWithHost() { Hand(input::HostRebooted{}); }
  void NoteShutdownFile(absl::Time written) { Hand(input::FileFound{written}); }

  // Inputs of any run, as VmSession has them.
  void SetUuidProblem(absl::string_view problem) { Hand(input::SharedUuid{problem}); }
  void NoteHostShutdown(bool shutting_down, absl::string_view by);

  // Reports that the monitor cannot be had for now: it has sent no greeting, or as `problem` says.
  void ReportHeld() { Hand(input::MonitorHeld{}); }
  void ReportProblem(absl::string_view problem) { Hand(input::MonitorProblem{problem}); }
  // Ends a run that is not tracked, or was restored and has no process any more.
  void End(const ProcessEnd& end = {});
  // Ends a run of whose process `zombie` is left.
  void EndWithZombie(const PeerProcess& zombie) { End(process_.EndOfZombie(zombie)); }

  // Returns whether the process has not ended. All that QEMU has said by now has been handed in
  // then.
  bool Lives();
  const Intent* IntentOfRequest(absl::string_view request_id) const {
    return session_.IntentOfRequest(request_id);
  }
  absl::Status CheckIntent() const { return session_.CheckIntent(Now()); }
  // Calls `done` when all that was published of the run by now is public.
  void Confirm(std::function<void()> done);
  // Declares `intent` for a run for which CheckIntent() is OK and no intent is open. Calls `done`
  // when that is public.
  void DeclareIntent(Intent intent, std::function<void()> done);
  // Withdraws the open intent of a run that has one.
  void WithdrawIntent(std::function<void()> done);
  const Intent* open_intent() const { return session_.open_intent(); }
  void DiscountOomKill(uint64_t kills) { process_.DiscountOomKill(kills); }

  const RunInfo& info() const { return session_.run(); }
  Instant attached_at() const { return session_.attached_at(); }
  bool away() const { return session_.away(); }
  // Directory of its socket and its shutdown file.
  std::string Directory() const;
  VmStatus Status() const { return session_.Status(); }
  std::string Save() const { return session_.Save(); }
  bool tracked() const { return info().process_tracked; }
  bool answered() const { return session_.answered(); }
  bool followed() const { return process_.followed(); }
  // Returns whether the process that it follows has ended.
  virtual bool process_ended() const { return process_.ended(); }
  // Returns whether the sink knows of it.
  bool published() const { return published_; }

  // Returns whether a connection to its monitor is there.
  virtual bool connected() const = 0;

 protected:
  // The source's part.

  // The process has ended; a zombie has. Hands in what QEMU said before, and then has process()
  // find out how it ended, or replaces it.
  virtual void OnProcessGone() = 0;
  // Asks QEMU, where it can be asked, for what is then handed in as OnRunState and OnGuestAgent.
  virtual void AskRunState() = 0;
  virtual void AskGuestAgent() = 0;
  // Hands in what QEMU has said by now, within `limit`.
  virtual void ReadNow(absl::Duration limit) = 0;
  // The run is over: closes what it has.
  virtual void Disconnect() = 0;

  // Hands in what QEMU said.
  void HearEvent(const QmpEvent& event);
  PeerProcess TakeProcess() { return process_.Take(); }
  // Gives the next daemon the process, and which text of the journal is the run's.
  void HandOverTo(HandedRun* handed);
  void Apply(Effects effects);
  // Hands `input` to the session, and carries out what it wants; nothing if the run is over.
  void Hand(const Input& input) {
    if (!over_) Apply(session_.On(input, Now()));
  }

  VmSession& session() { return session_; }
  const VmSession& session() const { return session_; }
  ProcessWatch& process() { return process_; }
  // process() is about to let go of its process.
  void OnReleased();
  Instant Now() const { return context_->loop->Now(); }
  bool over() const { return over_; }

 private:
  friend class ProcessWatch;
  friend class RunTable;

  // Notifications of process_, which may be destroyed in none of them. AwaitEnd has its answer; the
  // watch holds no descriptor any more.
  void OnProcessEnd(const ProcessEnd& end);
  // The cgroup of the process, which lives, counts `kills` by now: all were of others.
  void OnOomKillsOfOthers(uint64_t kills) { Hand(input::OomKills{kills}); }
  void OnOomKilled(uint64_t kills) { owner_->OnOomKill(this, kills); }
  // The process, which has not ended as far as the loop knows, was sent a signal that may end it,
  // or the kernel is about to kill it for its memory.
  void OnSignal(const SignalSender& sender);
  void OnOomVictim(const OomVictim& victim);
  // Carries out `effects`; the first event of `type` among them has `done` called.
  void ApplyThen(Effects effects, EventType type, std::function<void()> done);
  void Execute(Publish& effect);
  void Execute(const WriteShutdownFile& effect);
  void Execute(const RemoveShutdownFile& effect);
  void Execute(const QueryRunState& /*effect*/) { AskRunState(); }
  void Execute(const QueryGuestAgent& /*effect*/) { AskGuestAgent(); }
  void Execute(const ExamineThreads& effect);
  void Execute(const Done& effect);
  template <typename Operation>
  void TouchShutdownFile(Operation operation);
  void ArmTick();

  RunContext* const context_;
  Owner* const owner_;
  VmSession session_;
  ProcessWatch process_;
  TimerId tick_timer_;
  uint64_t limited_events_ = 0;  // the session's that were counted
  bool published_ = false;
  bool over_ = false;
  // State of the table:
  RunSource* source_ = nullptr;
  std::optional<Uuid> indexed_uuid_;
};

}  // namespace vmeventd
