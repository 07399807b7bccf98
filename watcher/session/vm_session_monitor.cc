// A run's monitor: attached, held by another client, lost, and attached again; and QEMU's answers.

#include <string>

#include "absl/strings/str_cat.h"
#include "watcher/session/qemu_run_state.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

void VmSession::Handle(const input::MonitorReady& input, Instant now) {
  const MonitorInfo& info = input.info;
  saved_.evidence.facts.guest_can_exit |= info.traits.guest_can_exit;
  saved_.evidence.facts.stays_down |= info.traits.stays_down;
  saved_.evidence.facts.no_panic_device |= info.traits.no_panic_device;
  BeginListening(now);
  Listen(now);
  saved_.uuid = info.uuid;
  saved_.qemu_version = info.qemu_version;
  std::string run_state = info.run_state;
  // A SHUTDOWN of this very connection outranks a `running` that may be older: what takes it back
  // is a RESET or a RESUME. Any other state, such as `postmigrate`, stands next to the
  // SHUTDOWN.
  if (link_.TakeDownInHandshake() && saved_.evidence.facts.shutdown.has_value()) {
    if (!GuestIsUp(run_state)) {
      saved_.evidence.SawRunStateInShutdown(run_state, StateReport(run_state), now);
    }
    run_state.clear();
    saved_.vm.Set(VmState::kGuestDown, now.wall);
  }
  SawRestart(now);
  if (CanLoseMonitor()) DeclareLost(now);
  saved_.problems.Set(
      Subject::kMonitor,
      {ProblemCode::kNoAnswer, info.run_state.empty() ? "QEMU did not answer query-status" : ""});
  saved_.evidence.facts.monitored = true;
  const MonitorLink::State was = link_.Attach();
  if (was == MonitorLink::State::kNone) {
    ApplyRunState(run_state, StateReport(run_state), now);
    EnsureStarted(now, info.qemu_name);
  } else if (was != MonitorLink::State::kReady) {
    Reattach(was, run_state, now);
  }
  poll_.OnAttach(info.run_state, now.monotonic);
  effects_.push_back(AskQemu{Question::kGuestAgent});
}

void VmSession::Reattach(MonitorLink::State was, absl::string_view run_state, Instant now) {
  const bool was_lost = was == MonitorLink::State::kLost;
  const VmState before = was_lost ? saved_.vm.state_before_loss : saved_.vm.state;
  ForgetExit();  // a QEMU that answers does not hang
  ApplyRunState(run_state, StateReport(run_state), now);
  if (was_lost) saved_.vm.Regain();
  RevokeShutdownFile();
  if (was == MonitorLink::State::kClosed) return;
  const std::string reporter = ReporterName(saved_.run);
  if (was_lost) {
    Emit(EventType::kMonitorRestored,
         absl::StrCat(reporter, " is connected; the VM is ", StateText(saved_.vm.state)), now);
  }
  if (before == saved_.vm.state || before == VmState::kUnreachable ||
      saved_.vm.state == VmState::kUnreachable) {
    if (!was_lost) PublishStatus();
    return;
  }
  const std::string since = was_lost ? absl::StrCat(reporter, " was lost") : "vmeventd stopped";
  Emit(MakeGap(GapReason::kUnseenChange,
               absl::StrCat("the VM was ", StateText(before), " when ", since, " and is ",
                            StateText(saved_.vm.state), " now: the events between were not seen"),
               now.wall),
       now);
  EventType type = EventType::kResumed;
  if (saved_.vm.state == VmState::kPaused) type = EventType::kPaused;
  if (saved_.vm.state == VmState::kSuspended) type = EventType::kSuspended;
  if (saved_.vm.state == VmState::kGuestDown) type = EventType::kGuestShutdown;
  Emit(type, absl::StrCat("the VM is ", StateText(saved_.vm.state)), now);
}

void VmSession::BeginListening(Instant now) {
  const absl::Duration age = now.wall - saved_.run.process_start;
  const bool new_qemu = age < kGuestObeys || age == absl::InfiniteDuration();
  if (!link_.MissedNothing(new_qemu)) saved_.unseen_until = now;
}

void VmSession::OnUnfollowedTime(Instant now) {
  const bool stays = saved_.evidence.facts.stays_down || saved_.run.has_manager;
  saved_.evidence.OnUnfollowedTime(stays, now);
}

void VmSession::StopAsking() {
  poll_.Stop();
  saved_.problems.Set(Subject::kSilence, {});
}

std::string VmSession::StateReport(absl::string_view run_state) const {
  return ReportedState(saved_.run, run_state);
}

void VmSession::Handle(const input::MonitorHeld& /*input*/, Instant now) {
  saved_.problems.Set(Subject::kMonitor, NoGreeting(now));
  saved_.evidence.facts.monitored = false;
  link_.MarkMaybeAlive();
  if (started_) return;
  link_.Lose();
  EnsureStarted(now);
}

void VmSession::SetMonitorProblem(const Problem& problem, Instant now) {
  if (saved_.problems.Of(Subject::kMonitor) == problem) return;
  saved_.problems.Set(Subject::kMonitor, problem);
  EnsureStarted(now);
}

void VmSession::SetRunProblem(absl::string_view run_state) {
  if (run_state == "io-error") {
    // The text of an earlier BLOCK_IO_ERROR is not replaced.
    if (saved_.problems.Of(Subject::kRun).code != ProblemCode::kIoError)
      saved_.problems.Set(Subject::kRun, {ProblemCode::kIoError, std::string(kIoErrorProblem)});
  } else if (run_state == "internal-error") {
    saved_.problems.Set(Subject::kRun,
                        {ProblemCode::kInternalError, "paused by QEMU after an internal error"});
  } else {
    saved_.problems.Set(Subject::kRun, {});
  }
}

void VmSession::Handle(const input::StateAnswer& input, Instant now) {
  poll_.OnAnswer(input.run_state, now.monotonic);
  saved_.problems.Set(Subject::kSilence, {});
  const bool answered = link_.ready() && !input.run_state.empty();
  if (answered && saved_.problems.Of(Subject::kMonitor).code == ProblemCode::kNoAnswer) {
    saved_.problems.Set(Subject::kMonitor, {});
  }
  if (link_.ready() && saved_.vm.state == VmState::kUnreachable) {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
  }
  // A VM that arrives by migration has the state that it had at its source. No event reports that,
  // unless it runs.
  if (incoming() && !input.run_state.empty() && input.run_state != "inmigrate") {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
  }
  saved_.evidence.SawMigrationState(input.run_state, StateReport(input.run_state), now);
  if (input.run_state == "internal-error") {
    saved_.evidence.Saw(&Evidence::internal_error, StateReport(input.run_state), now,
                        EvidenceId::kInternalError);
  }
  if (!input.run_state.empty() && !GuestIsUp(input.run_state)) {
    saved_.vm.SetPauseReason(input.run_state);
  }
  if (input.run_state != "finish-migrate") SetRunProblem(input.run_state);
}

void VmSession::Handle(const input::AgentAnswer& input, Instant now) {
  saved_.agent.Learn(input.info, now);
  if (link_.TakeAllAnswers() && started_) PublishStatus();
}

void VmSession::Handle(const input::MonitorClosed& input, Instant now) {
  StopAsking();
  const bool in_first_handshake = link_.state() == MonitorLink::State::kNone;
  link_.Close(input.why, now);
  if (in_first_handshake) {
    SetMonitorProblem(
        {saved_.run.lost_problem, absl::StrCat("monitor closed before it was ready: ", input.why)},
        now);
  }
  // Ganeti reads the file as soon as the process is gone: it must be there before that, wherever
  // in its handshake the connection ended.
  if (saved_.evidence.decided() && steps_.file_due()) RequestShutdownFile();
}

bool VmSession::OutlivesMonitor() const {
  return saved_.run.process_tracked || saved_.run.has_manager;
}

bool VmSession::MayBeStarting(Instant now) const {
  return !saved_.run.has_manager && !answered() && now.wall - saved_.run.process_start < kStartTime;
}

void VmSession::DeclareLost(Instant now) {
  const std::string name = ReporterName(saved_.run);
  const bool never_attached = link_.state() == MonitorLink::State::kUnseen;
  if (!never_attached) {
    saved_.evidence.facts.monitored = false;  // a missing SHUTDOWN is no evidence
    saved_.evidence.Saw(absl::StrCat(name, " was lost (", link_.close_reason(), ")"),
                        link_.closed_at());
  }
  if (saved_.problems.Of(Subject::kMonitor).empty()) {
    saved_.problems.Set(
        Subject::kMonitor,
        {saved_.run.lost_problem,
         never_attached ? absl::StrCat("vmeventd has not connected to ", name, " since it started")
                        : absl::StrCat(name, " was lost: ", link_.close_reason())});
  }
  link_.Lose();
  saved_.vm.Lose(now.wall);
  const std::string message =
      never_attached
          ? absl::StrCat("vmeventd restarted and cannot connect to ", name)
          : absl::StrCat("the connection to ", name, " was lost (", link_.close_reason(), ")");
  Emit(EventType::kMonitorLost, message + ": this does not mean that the VM has ended", now);
}

void VmSession::ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  SetRunProblem(run_state);
  const bool arrives = incoming();
  saved_.evidence.SawRunState(run_state, by, now);
  // The power button may have been pressed at the source.
  if (arrives && !incoming()) saved_.unseen_until = now;
  if (GuestIsUp(run_state)) {
    poll_.AskLater(now.monotonic);
    ReconsiderIntent();
    ForgetExit();
    RevokeShutdownFile();
  }
  if (run_state.empty()) return;
  saved_.vm.Set(StateOfRunState(run_state), now.wall);
  saved_.vm.SetPauseReason(run_state);
  saved_.problems.Set(Subject::kSilence, {});
}

}  // namespace vmeventd
