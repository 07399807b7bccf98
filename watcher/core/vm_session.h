#ifndef VMEVENTD_WATCHER_CORE_VM_SESSION_H_
#define VMEVENTD_WATCHER_CORE_VM_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/instant.h"
#include "watcher/core/classification.h"
#include "watcher/core/event_limiter.h"
#include "watcher/core/guest_agent_probe.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

struct SessionOptions {
  absl::Duration powerdown_window = absl::Minutes(10);
  bool shutdown_files = true;
  bool event_limits = true;                 // false: every event is published
  NodeEventLimiter* node_events = nullptr;  // shared by all sessions; null: no bound of the node
};

// Which socket file it is: a path may be bound anew by another process, and an inode used again.
struct SocketIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t made_ns = 0;  // when the file was made, since 1970

  bool operator==(const SocketIdentity& other) const {
    return device == other.device && inode == other.inode && made_ns == other.made_ns;
  }
};

// What is known of a run when its process is first seen. Text is UTF-8 already, but for raw_*.
struct RunInfo {
  std::string name;
  std::string run_id;
  std::string monitor_path;
  int64_t pid = 0;              // 0: not visible, or of a foreign PID namespace
  uint64_t start_ticks = 0;     // of the process: field 22 of /proc/PID/stat; 0: not known
  uint64_t pidfd_inode = 0;     // of the process: ProcessKey; 0: not known
  std::string boot_id;          // of the kernel that it runs under
  uint64_t pid_namespace = 0;   // in which `pid` was read; 0: not known
  std::string raw_path;         // of the monitor's socket, as the kernel knows it
  std::string raw_name;         // `name` before it was escaped
  SocketIdentity socket;        // that was connected to last
  bool process_tracked = true;  // false: the monitor's EOF is the end of the run
  absl::Time process_start = absl::InfinitePast();  // InfinitePast: not known
  // The file that counts the OOM kills in the process's cgroup, and what it said while the process
  // lived. Empty: not known.
  std::string oom_file;
  uint64_t oom_kills = 0;
  // By which its shutdown file is known again (watcher/runs/shutdown_file.h); 0: none.
  uint32_t shutdown_file_mark = 0;
};

// A process as far as a run is concerned, with the members of RunInfo.
struct ProcessInfo {
  int64_t pid = 0;
  uint64_t start_ticks = 0;
  uint64_t pidfd_inode = 0;
  absl::Time process_start = absl::InfinitePast();
  std::string oom_file;
  uint64_t oom_kills = 0;
};

// What the kernel tells of a process that is gone.
struct ProcessEnd {
  std::optional<ExitStatus> status;  // unset: not known
  bool oom_killed = false;           // its cgroup counts an OOM kill that is put down to it
};

// What the handshake on the monitor told. Text is UTF-8 already; empty where QEMU did not say.
struct MonitorInfo {
  std::string qemu_version;
  std::string run_state;  // query-status
  std::string uuid;       // query-uuid; the null UUID is given as ""
  std::string qemu_name;  // query-name
};

// What a session wants done, in this order.
struct Publish {
  VmUpdate update;
};
// Create or remove NAME.shutdown, then call OnShutdownFileDone.
struct WriteShutdownFile {};
struct RemoveShutdownFile {};
// Send query-status after `delay`, then call OnRunState with the answer.
struct QueryRunState {
  absl::Duration delay;
};
// Ask about the guest agent (GuestAgentProbe), then call OnGuestAgent.
struct QueryGuestAgent {};
// The run is over and told: drop the session.
struct Done {};
using Effect = std::variant<Publish, WriteShutdownFile, RemoveShutdownFile, QueryRunState,
                            QueryGuestAgent, Done>;
using Effects = std::vector<Effect>;

// One run of one QEMU process, from the first sight of the process to its end, as a pure state
// machine: inputs carry their time, effects are returned for the caller to carry out in order.
// It publishes STARTED before any other event of the run, and exactly one STOPPED, as the last.
// The state and the problems of the VM as published change with an event, never without one; all
// but STARTED, STOPPED and what is said of intents pass an EventLimiter, and one GAP counts what
// that left out.
// What Save() says is published with the updates, as VmUpdate::saved_run, whenever it has changed:
// the last update that an input leads to has it, and one is made for it where there would be none.
// An input that leads to no event may leave that to OnTick, if such ones come in a flood.
// After Done it takes no more input. No thread of its own.
class VmSession {
 public:
  // `options` outlives the session.
  VmSession(RunInfo run, const SessionOptions* options, Instant now);

  // A run as Save() wrote it, for a daemon that was started again: its evidence stands, its monitor
  // is not attached. What happened since nobody saw: OnMonitorReady tells a GAP where the run state
  // shows it, and a process that is gone by then ended unobserved unless the evidence tells more.
  // A monitor that stays away is lost after a while.
  // INVALID_ARGUMENT: not a text of Save().
  static absl::StatusOr<std::unique_ptr<VmSession>> Restore(absl::string_view saved,
                                                            const SessionOptions* options,
                                                            Instant now);
  // The run and its evidence as one line of JSON (docs/journal.md). Empty before STARTED and after
  // STOPPED: there is no open run then.
  std::string Save() const;

  // The shutdown file is there and vmeventd wrote it, at `written`, during this restored run.
  Effects OnShutdownFileFound(absl::Time written, Instant now);
  // The run was restored under another kernel than it ran under: that is its end.
  Effects OnHostRebooted(Instant now);
  // The process cannot be followed any more: the monitor's EOF is the end of the run from now on.
  Effects OnTrackingLost(Instant now);
  // `problem` says which other VM has the same UUID; empty: none has.
  Effects OnSharedUuid(absl::string_view problem, Instant now);
  // The process that listened on the monitor's socket is gone, and another one serves the socket,
  // of which nothing is known. `answers`: it has answered as QEMU does.
  Effects OnListenerGone(bool answers, Instant now);
  // `process` is QEMU's, and is followed from now on: none was known, or another's.
  Effects OnProcessFound(const ProcessInfo& process, Instant now);
  // RunInfo::oom_kills, read anew while the process lives.
  Effects OnOomKills(uint64_t kills);
  // The monitor is about to be attached by `socket`.
  Effects OnSocket(const SocketIdentity& socket);

  // The handshake is complete: for the first time, or again after the monitor was lost.
  Effects OnMonitorReady(const MonitorInfo& info, Instant now);
  // Connected, but no greeting came in time: another client holds the monitor. May be called for
  // each attempt.
  Effects OnMonitorHeld(Instant now);
  // `problem` stands in the VM's problems until the next OnMonitorReady.
  Effects OnMonitorProblem(absl::string_view problem, Instant now);
  Effects OnRunState(absl::string_view run_state, Instant now);
  Effects OnGuestAgent(const GuestAgentInfo& info, Instant now);
  Effects OnQmpEvent(const QmpEvent& event, Instant now);
  // The connection ended; `why` is for people ("EOF", "a line of more than 10 MiB").
  Effects OnMonitorClosed(absl::string_view why, Instant now);
  // The process is gone. All that the monitor still had to say has been handed in before.
  Effects OnProcessGone(Instant now, const ProcessEnd& end = {});
  Effects OnShutdownFileDone(const absl::Status& status, Instant now);
  // The same, of a file that was left as it is: its name belongs to a later run.
  Effects OnShutdownFileLeft(Instant now);
  // Somebody is about to end the run; CheckIntent() has said that it may be declared. It expires by
  // the monotonic clock, as long after `now` as its expire_time is.
  Effects OnIntentDeclared(Intent intent, Instant now);
  // The open intent is taken back; nothing happens without one.
  Effects OnIntentWithdrawn(Instant now);
  Effects OnTick(Instant now);

  // When OnTick is due, on the monotonic clock; InfiniteDuration: never.
  absl::Duration NextTick() const;

  // As published with the last event.
  VmStatus Status() const;
  // Whether Save() has changed since it was published: OnTick will publish it.
  bool unsaved() const { return keep_at_ < absl::InfiniteDuration(); }
  const RunInfo& run() const { return run_; }
  Instant attached_at() const { return attached_at_; }
  // Null without one.
  const Intent* open_intent() const { return intent_.has_value() ? &intent_->intent : nullptr; }
  // The intent of that request_id, not empty, which is open or has counted for the end that is
  // under way; null: none.
  const Intent* IntentOfRequest(absl::string_view request_id) const;
  // Whether an intent that is declared now could count. FAILED_PRECONDITION: what decides the end
  // of the run was seen already; the message says what.
  absl::Status CheckIntent() const;
  // Restored, and its monitor was not attached since.
  bool away() const { return away_; }
  // How many events the rate limit has left out so far.
  uint64_t rate_limited_events() const { return limiter_.dropped_total(); }

 private:
  enum class Monitor {
    kNone,    // no greeting yet
    kReady,   // ours, and it answers
    kClosed,  // just ended: a dying QEMU closes it a moment before its process goes
    kLost,    // ended while the process lives on, and said so
    kUnseen,  // not attached since the daemon's restart
  };
  // How long a monitor may be closed before it counts as lost: a QEMU that ends closes it some time
  // before its process is gone.
  static constexpr absl::Duration kLostGrace = absl::Seconds(1);
  static constexpr size_t kMaxTimelineEntries = 16;
  static constexpr size_t kMaxEvidenceBytes = 512;  // of one entry
  enum class FileStep { kUndone, kRequested, kDone };
  // The guest agent's channel, as QEMU told it last.
  struct GuestAgent {
    GuestAgentInfo info;
    std::optional<Instant> opened;  // when it was seen to be open
    std::optional<Instant> closed;  // and when no longer, since then
  };
  struct DeclaredIntent {
    Intent intent;
    absl::Time declared;
    absl::Duration deadline;  // on the monotonic clock
  };

  // The inputs of the same names but for what they have kept.
  void MonitorReady(MonitorInfo info, Instant now, Effects* effects);
  void MonitorHeld(Instant now, Effects* effects);
  void MonitorProblem(absl::string_view problem, Instant now, Effects* effects);
  void RunState(absl::string_view run_state, Instant now, Effects* effects);
  // To be called at the end of each input: publishes a state and problems that no event told of,
  // and then what is to be kept.
  void Settle(Instant now, Effects* effects);
  Effects Settled(Instant now, Effects effects);
  // Has the last update of `effects` publish Save() if it has changed.
  void Keep(Instant now, Effects* effects);
  void KeepNow(Effects* effects);

  // Publishes a QMP event.
  Effects Handle(EventType type, absl::string_view message, const QmpEvent& event, Instant now);
  Effects OnShutdown(const QmpEvent& event, Instant now);
  Effects OnPowerdown(const QmpEvent& event, Instant now);
  Effects OnReset(const QmpEvent& event, Instant now);
  Effects OnStop(const QmpEvent& event, Instant now);
  Effects OnResume(const QmpEvent& event, Instant now);
  Effects OnPanic(const QmpEvent& event, Instant now);
  Effects OnWatchdog(const QmpEvent& event, Instant now);
  Effects OnSuspend(const QmpEvent& event, Instant now);
  Effects OnWakeup(const QmpEvent& event, Instant now);
  Effects OnSuspendDisk(const QmpEvent& event, Instant now);
  Effects OnPortChange(const QmpEvent& event, Instant now);
  Effects OnOther(const QmpEvent& event, Instant now);

  // Closes an open intent whose time is over.
  void ExpireIntent(Instant now, Effects* effects);
  void CloseIntent(IntentEnd end, Instant now, Effects* effects);
  // To be called when an intent comes or goes and when evidence is cleared: as long as nothing
  // decides the run's class, an open intent counts.
  void WeighIntent();
  // The one that counts, else the one that is open; null without any.
  const DeclaredIntent* IntentOfTheEnd() const;

  // QEMU was seen to begin its exit, or not to exit after all.
  void BeginExit(Instant now);
  void ForgetExit();

  // What of `run_state` is evidence or state. `by` is what said it, for the evidence.
  void ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now);
  void SetAgentOpen(bool open, Instant now);
  // What the guest agent leaves open of a shutdown that is seen now.
  std::optional<ShutdownCaveat> AgentCaveat(absl::Duration now) const;
  void DescribeAgent(ShutdownCaveat caveat, ShutdownDetail* detail) const;
  void NoteMigrated(Instant now);
  void SetState(VmState state, Instant now);
  // Adds to the evidence's timeline; a repetition of the last entry renews it.
  void Saw(std::string what, Instant now);
  void SawRestart(Instant now);
  // What cleared the evidence replaces it in the timeline: all of it, or what ends when the VM
  // runs.
  void ForgetAll(absl::string_view by, Instant now);
  void ForgetDown(absl::string_view by, Instant now);
  template <typename Predicate>
  void Forget(absl::string_view by, Instant now, Predicate is_cleared);

  VmEvent MakeEvent(EventType type, std::string message, Instant now) const;
  // Appends STARTED before the first event, and a GAP for what the limiter dropped.
  void EnsureStarted(Instant now, Effects* effects);
  void FlushDropped(Instant now, Effects* effects);
  // Whether the rate limit lets an event pass.
  bool Admit(EventType type, Instant now);
  void Emit(VmEvent event, Instant now, Effects* effects);
  // The same for what no limit holds back.
  void EmitAlways(VmEvent event, Instant now, Effects* effects);
  Publish Update(std::optional<VmEvent> event);
  std::vector<std::string> Problems() const;
  // When a guest that is down counts as staying so, its QEMU not having ended.
  absl::Duration DownReport() const;

  void Regain(const MonitorInfo& info, Instant now, Effects* effects);
  void ResumeAfterRestart(const MonitorInfo& info, Instant now, Effects* effects);
  // A GAP, and then the event that tells `state_`: it was `before` at the time that `since` names.
  void TellUnseenChange(VmState before, absl::string_view since, Instant now, Effects* effects);
  void DeclareLost(Instant now, Effects* effects);
  // A restored run whose monitor did not come back.
  void DeclareAway(Instant now, Effects* effects);
  ShutdownDetail MakeDetail() const;
  // Asks for the shutdown file as the class wants it; false if there is nothing to ask for.
  bool RequestShutdownFile(Effects* effects);
  // Removes the file of an end that was none.
  void TakeShutdownFileBack(Effects* effects);
  void Finish(Instant now, Effects* effects);

  RunInfo run_;
  const SessionOptions* options_;
  Instant attached_at_;

  VmState state_ = VmState::kUnreachable;
  absl::Time state_time_;
  std::string uuid_;
  std::string qemu_version_;
  std::string qemu_name_;
  std::string monitor_problem_;
  std::string run_problem_;
  std::string file_problem_;
  std::string exit_problem_;
  std::string uuid_problem_;
  // As the last event told them.
  VmState told_state_ = VmState::kUnreachable;
  absl::Time told_state_time_;
  std::vector<std::string> told_problems_;

  Monitor monitor_ = Monitor::kNone;
  Instant closed_at_;
  VmState state_before_loss_ = VmState::kUnreachable;
  std::string close_reason_;
  bool started_ = false;
  bool gone_ = false;
  bool away_ = false;
  size_t kept_ = 0;  // the hash of what Save() said when it was published last
  // What is kept without an event, of which a hostile monitor can cause any number.
  TokenBucket keeps_{50, 10};
  absl::Duration keep_at_ = absl::InfiniteDuration();  // when to keep what was put off

  Evidence evidence_;
  std::vector<EvidenceEntry> timeline_;
  std::optional<DeclaredIntent> intent_;          // that is open
  std::optional<DeclaredIntent> counted_intent_;  // closed since, and evidence_.intended by it
  GuestAgent agent_;
  std::optional<Instant> powerdown_at_;
  bool paused_ = false;
  bool down_in_handshake_ = false;  // SHUTDOWN came before the handshake was complete
  // Of the first uncleared SHUTDOWN, for STOPPED.
  std::optional<absl::Time> shutdown_qemu_time_;
  std::string shutdown_json_;

  // Since when QEMU is expected to go, and after how long that is the next time told.
  std::optional<Instant> exiting_since_;
  absl::Duration exit_report_ = absl::InfiniteDuration();

  FileStep file_step_ = FileStep::kUndone;
  bool file_written_ = false;

  absl::Duration last_reset_ = -absl::InfiniteDuration();
  int migration_polls_ = 0;  // since the last STOP
  EventLimiter limiter_;
  absl::Duration first_drop_ = absl::InfiniteDuration();
  absl::Duration last_drop_ = absl::InfiniteDuration();
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_VM_SESSION_H_
