#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/token_bucket.h"
#include "watcher/core/problem.h"
#include "watcher/core/process_end.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/classification.h"
#include "watcher/session/end_steps.h"
#include "watcher/session/event_limiter.h"
#include "watcher/session/evidence.h"
#include "watcher/session/monitor_link.h"
#include "watcher/session/run_state.h"
#include "watcher/session/run_state_poll.h"
#include "watcher/session/save_schedule.h"
#include "watcher/session/session_effects.h"
#include "watcher/session/session_input.h"
#include "watcher/session/session_options.h"

namespace vmeventd {

// One run of one QEMU process, from the first sight of the process to its end, as a pure state
// machine: inputs carry their time, effects are returned for the caller to carry out in order. It
// publishes STARTED before any other event of the run, and exactly one STOPPED, as the last. The
// published state and problems of the VM change with an event, never without one; so does the
// reason of a pause, unless it becomes `paused`, `finish-migrate` or `postmigrate`. All events but
// STARTED, STOPPED and INTENT_* pass an EventLimiter, and one GAP counts the dropped events.
// Whenever Save() has changed, the last update that an input leads to has it as
// VmUpdate::saved_run; an input that leads to no update gets one for it. In a flood of inputs
// without an event, a Tick publishes it. After Done it takes no more input. No thread of its own.
class VmSession {
 public:
  // The problem of a monitor that sent no greeting; `vmevents doctor` finds which it is.
  static constexpr char kNoGreeting[] =
      "monitor held by another client, or QEMU hangs or is stopped: it sent no greeting";
  // The same for a QEMU that started less than kStartTime ago: it may still reserve memory or set
  // up devices, and listens meanwhile.
  static constexpr char kNoGreetingYet[] =
      "no greeting yet: QEMU may still be starting, or its monitor is held by another client";
  static constexpr absl::Duration kStartTime = absl::Minutes(2);

  // `options` outlives the session.
  VmSession(RunInfo run, const SessionOptions* options, Instant now);

  // Restores a run from Save() after a restart of the daemon: its evidence counts, its monitor is
  // not attached. Nobody saw what happened since: MonitorReady publishes a GAP if the run state
  // shows a change, and a process that is gone by then ended unobserved, unless the evidence shows
  // more. A monitor that is not attached for some time counts as lost. INVALID_ARGUMENT: `saved` is
  // not from Save().
  static absl::StatusOr<VmSession> Restore(absl::string_view saved, const SessionOptions* options,
                                           Instant now);
  // The run and its evidence (run_state.h). Empty before STARTED and after STOPPED: there is no
  // open run then.
  std::string Save() const;

  // One step: closes an expired intent, handles the input, then publishes changes that no event has
  // reported, and what is to be saved.
  Effects On(const Input& input, Instant now);

  // Returns whether the next daemon can resume the run on its monitor's connection: the monitor
  // answers.
  bool CanBeHandedOver() const;

  // Time at which a Tick is due, on the monotonic clock; InfiniteDuration: never.
  absl::Duration NextTick() const;

  // Status as published with the last event.
  v1::Vm Status() const;
  // Returns whether Save() has changed since it was published: a Tick will publish it.
  bool unsaved() const { return saves_.is_due(); }
  const RunInfo& run() const { return saved_.run; }
  const std::string& uuid() const { return saved_.uuid; }  // empty: none, or not known yet
  Instant attached_at() const { return saved_.attached_at; }
  // The open intent; null: there is none.
  const v1::Intent* open_intent() const {
    return saved_.intents.open.has_value() ? &saved_.intents.open->intent : nullptr;
  }
  // The intent with that request_id (not empty) that is open, or that counts for the end under way;
  // null: none.
  const v1::Intent* IntentOfRequest(absl::string_view request_id) const {
    return saved_.intents.OfRequest(request_id);
  }
  // Returns whether an intent may be declared now. FAILED_PRECONDITION: it could not count, because
  // the evidence that decides the run's end was seen already; the message names that.
  // RESOURCE_EXHAUSTED: too many were declared for the run.
  absl::Status CheckIntent(Instant now) const;
  // Returns whether QEMU waits for a VM: its run state was `inmigrate`, no RESUME since.
  bool incoming() const { return saved_.evidence.facts.incoming != Fact::kNone; }
  // Returns whether it was restored and its monitor was not attached since.
  bool restored_unattached() const { return link_.unattached_since_restore(); }
  // Returns whether its process is gone, and its STOPPED may not have been published yet.
  bool gone() const { return steps_.gone(); }
  // Returns whether it has the problem of input::SharedPath.
  bool shares_path() const { return !saved_.problems.Of(Subject::kPath).empty(); }
  // Returns whether the class of its end is known, whatever else comes.
  bool decided() const { return saved_.evidence.decided(); }
  // Returns whether somebody has answered on its monitor as QEMU does.
  bool answered() const { return !saved_.qemu_version.empty(); }
  // The problem of a monitor that has sent no greeting by `now`.
  Problem NoGreeting(Instant now) const {
    return MayBeStarting(now) ? Problem{ProblemCode::kStarting, kNoGreetingYet}
                              : Problem{ProblemCode::kNoGreeting, kNoGreeting};
  }
  // Number of events that the rate limit has dropped so far.
  uint64_t rate_limited_events() const { return limiter_.dropped(); }

 private:
  // The beginning of the problem of a VM that QEMU has paused; the error may follow.
  static constexpr absl::string_view kIoErrorProblem = "paused by QEMU after an I/O error";
  // Each intent makes two events, to which no other limit applies.
  static constexpr TokenRate kIntents{.per_second = 0.5, .burst = 100};

  VmSession(RunState saved, MonitorLink link, const SessionOptions* options, Instant now);

  // Handles one of QEMU's events.
  using EventHandler = void (*)(VmSession* of, const QmpEvent& event, Instant now);
  // Does what comes before any input. Returns whether the input is dispatched. `handler`: the
  // handler of an event; null: no event, or one that is ignored.
  bool Precede(const Input& input, EventHandler handler, Instant now);
  // Handles the input: those of a line or two itself, an event by `handler`, the others by
  // Handle(). Adds effects to `effects_`.
  void Dispatch(const Input& input, EventHandler handler, Instant now);

  void Handle(const input::TakenOver& input, Instant now);
  void Handle(const input::MonitorReady& input, Instant now);
  void Handle(const input::MonitorHeld& input, Instant now);
  void Handle(const input::StateAnswer& input, Instant now);
  void Handle(const input::AgentAnswer& input, Instant now);
  void Handle(const input::MonitorClosed& input, Instant now);
  void Handle(const input::Threads& input, Instant now);
  void Handle(const input::ProcessGone& input, Instant now);
  void Handle(const input::WordsRead& input, Instant now);
  void Handle(const input::FileDone& input, Instant now);
  void Handle(const input::HostRebooted& input, Instant now);
  void Handle(const input::IntentDeclared& input, Instant now);
  void Handle(const input::Tick& input, Instant now);

  using Subject = RunProblem::Subject;

  // Time.
  // QEMU is no longer expected to exit.
  void ForgetExit();
  // Time from which a monitor that is closed, or was not attached since a restart, counts as lost.
  absl::Duration LossReport() const;
  // Time from which a guest that is down is reported as GUEST_DOWN, because its QEMU has not ended.
  absl::Duration DownReport() const;
  void SawRestart(Instant now);

  // Saving: vm_session_save.cc.
  // Adds Save() to the last update if it has changed; later, if `saves_` does not permit it now.
  void SaveSoon(Instant now);
  void SaveNow();

  // QEMU's events: vm_session_events.cc.
  // Null: the event is ignored.
  static EventHandler HandlerOf(absl::string_view event);
  // Publishes QEMU's event. `out` has the `detail`, if there is one.
  void Report(EventType type, absl::string_view message, const QmpEvent& event, Instant now,
              v1::Event out = {});
  Instant SentAt(const QmpEvent& event, Instant now) const {
    return link_.SentAt(event.time, options_->started, now);
  }
  void OnShutdown(const QmpEvent& event, Instant now);
  void OnReset(const QmpEvent& event, Instant now);
  void OnStop(const QmpEvent& event, Instant now);
  void OnPanic(const QmpEvent& event, Instant now);
  void OnIoError(const QmpEvent& event, Instant now);
  void OnMemoryFailure(const QmpEvent& event, Instant now);
  void OnPortChange(const QmpEvent& event, Instant now);
  void OnMigration(const QmpEvent& event, Instant now);

  // Intents: vm_session_intent.cc.
  void CloseIntent(IntentEnd end, Instant now);
  // RunIntents::Reconsider() with the run's facts.
  void ReconsiderIntent() { saved_.intents.Reconsider(&saved_.evidence.facts); }

  // The monitor: vm_session_monitor.cc.
  // QEMU answers again. `was`: the link's state before.
  void Reattach(MonitorLink::State was, absl::string_view run_state, Instant now);
  // Records that nobody may have listened until now, so that earlier requests to the guest may have
  // been missed.
  void BeginListening(Instant now);
  // Call it when the connection has sent something.
  void Listen(Instant now) {
    if (link_.TakeInput()) OnUnfollowedTime(now);
  }
  // Records that nobody listened for a time: facts that a reset would have made void are in doubt.
  void OnUnfollowedTime(Instant now);
  // Asks nothing more: QEMU is ending, or its monitor is closed.
  void StopAsking();
  void SetMonitorProblem(const Problem& problem, Instant now);
  void SetRunProblem(absl::string_view run_state);
  // Takes `run_state` as evidence and state. `by` names its reporter, for the evidence.
  void ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now);
  // Publishes that a closed monitor, or the one of a restored run, did not come back.
  void DeclareLost(Instant now);
  // Returns whether its monitor has just closed, which is a loss if the process lives on. After a
  // SHUTDOWN it is part of QEMU's exit, however long that takes.
  bool CanLoseMonitor() const {
    return link_.closed() && !gone() && OutlivesMonitor() &&
           !saved_.evidence.facts.shutdown.has_value();
  }
  // Returns whether nobody has answered on its monitor, and its process is younger than kStartTime.
  bool MayBeStarting(Instant now) const;
  // Returns whether the end of the connection to the monitor is not the end of the run.
  bool OutlivesMonitor() const;
  // Returns whether QEMU may have sent events before its end that did not arrive here, so that a
  // SHUTDOWN that is missing shows nothing.
  bool MayHaveMissedEvents(const ProcessEnd& end, Instant now) const;
  // Returns whether the VM may have lived on, unseen, after its monitor had closed: the monitor was
  // a manager's, which did not report the end, or nobody knows how long after it the process ended.
  bool MayHaveOutlivedMonitor(const ProcessEnd& end) const;
  // "query-status paused", "libvirt: state paused".
  std::string StateReport(absl::string_view run_state) const;

  // Publishing: vm_session_publish.cc.
  // Publishes STARTED if that was not done yet: it precedes all other events. `qemu_name`: QEMU's
  // own name, for its message.
  void EnsureStarted(Instant now, absl::string_view qemu_name = "");
  VmState ShownState() const {
    return saved_.vm.Shown(/*hidden=*/!saved_.problems.Of(Subject::kDirectory).empty());
  }
  // Publishes a GAP that counts the events that the limiter dropped.
  void FlushDropped(Instant now);
  bool Admit(EventType type, Instant now);
  void Emit(v1::Event event, Instant now);
  void Emit(EventType type, std::string message, Instant now) {
    Emit(MakeEvent(type, std::move(message)), now);
  }
  // Publishes an event that no limit holds back.
  void EmitAlways(v1::Event event, Instant now);
  void PublishStatus();
  void PublishPauseReason(Instant now);
  void PublishEvent(v1::Event event, Instant now);
  // Publishes a state and problems that no event has reported, and then what is to be saved.
  void PublishChanges(Instant now);
  // The detail of the end, as far as it is known: end_detail.h.
  v1::ShutdownDetail MakeDetail() const;

  // The end: vm_session_end.cc.
  // Marks the end as one that nobody saw as it happened.
  void SawEndLate(Instant now);
  Verdict CurrentVerdict() const;
  // Requests the shutdown file's creation or removal, as the class demands; false: nothing to
  // request.
  bool RequestShutdownFile();
  // Removes the shutdown file that was written for a supposed end: the VM lives on.
  void RevokeShutdownFile();
  // Returns whether QEMU's last words may explain the end, or name a sender that nobody saw.
  bool WantsWords() const;
  // After the process is gone: begins or awaits the next step that precedes the end, and after the
  // last step calls Finish().
  void Conclude(Instant now);
  void Finish(Instant now);

  const SessionOptions* options_;
  RunState saved_;   // all that outlives the daemon
  Effects effects_;  // those of the current step

  bool started_ = false;  // STARTED is published
  absl::Time alive_at_;   // the last sign of life of the VM
  absl::Duration last_reset_ = -absl::InfiniteDuration();
  MonitorLink link_;
  RunStatePoll poll_;
  EndSteps steps_;
  SaveSchedule saves_;
  EventLimiter limiter_;
  TokenBucket intent_limit_{kIntents};
};

}  // namespace vmeventd
