// A run's monitor: attached, held by another client, lost, and attached again.

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/session/command_pacer.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// VmSession::kLostGrace once the class is known, when a QEMU sometimes frees a large memory.
constexpr absl::Duration kLostGraceOfAnEnd = absl::Seconds(5);

// QEMU sends no event when a VM that is paused already enters `finish-migrate` or `postmigrate`,
// nor when one arrives whose guest is down. A question waits twice as long as the one before.
constexpr absl::Duration kPausedPoll = absl::Seconds(1);
constexpr absl::Duration kMaxPausedPoll = absl::Seconds(30);
constexpr absl::Duration kMaxFinishingPoll = absl::Seconds(1);

VmState StateOf(absl::string_view run_state) {
  if (run_state.empty()) return VmState::kUnreachable;
  if (run_state == "running") return VmState::kRunning;
  if (run_state == "suspended") return VmState::kSuspended;
  if (run_state == "shutdown" || run_state == "guest-panicked") return VmState::kGuestDown;
  return VmState::kPaused;
}

// Returns whether an earlier SHUTDOWN or pause is over in `state`.
bool GuestGoesOn(VmState state) {
  return state == VmState::kRunning || state == VmState::kSuspended;
}

}  // namespace

void VmSession::Handle(const input::MonitorReady& input, Instant now) {
  BecomeReady(input.info, now);
  longest_poll_ = absl::ZeroDuration();
  FollowMigration(input.info.run_state, now);
  effects_.push_back(QueryGuestAgent{});
}

void VmSession::FollowMigration(absl::string_view run_state, Instant now) {
  poll_at_ = absl::InfiniteDuration();
  if (run_state == "finish-migrate") {
    // The source is stopped and its last pages are on the way; `postmigrate` comes when they have
    // arrived, and QEMU sends no event for it.
    AskAgain(CommandPacer::kQuietTime, kMaxFinishingPoll, now);
  } else if (StateOf(run_state) == VmState::kPaused && run_state != "postmigrate") {
    AskAgain(kPausedPoll, kMaxPausedPoll, now);
  } else if (GuestGoesOn(StateOf(run_state))) {
    AskIn(options_->hang_check, now);
  }
}

void VmSession::AskAgain(absl::Duration first, absl::Duration longest, Instant now) {
  if (std::exchange(longest_poll_, longest) != longest) poll_wait_ = absl::ZeroDuration();
  poll_wait_ = std::clamp(poll_wait_ * 2, first, longest);
  AskIn(poll_wait_, now);
}

// Delays the question: by then the answer may be known, or be no longer of use.
void VmSession::AskSoon(Instant now) {
  longest_poll_ = absl::ZeroDuration();
  AskIn(CommandPacer::kQuietTime, now);
}

void VmSession::AskIn(absl::Duration wait, Instant now) {
  if (!ReporterOf(saved_.run).can_be_asked) return;
  poll_at_ = now.monotonic + wait;
}

void VmSession::PollRunState(Instant now) {
  if (saved_.exiting_since.has_value())
    return AskIn(options_->hang_check, now);  // it may be ending
  effects_.push_back(QueryRunState{});
  AskIn(kPausedPoll, now);  // should no answer come
  if (options_->hang_check < absl::InfiniteDuration()) {
    answer_due_ = std::min(answer_due_, now.monotonic + kAnswerTime);
  }
}

void VmSession::ForgetSilence() {
  answer_due_ = absl::InfiniteDuration();
  saved_.silence_problem = {};
}

void VmSession::BecomeReady(const MonitorInfo& info, Instant now) {
  goes_on_ = false;
  if (info.guest_can_exit) saved_.evidence.SetGuestCanExit();
  attached_ = false;
  saved_.uuid = info.uuid;
  saved_.qemu_version = info.qemu_version;
  if (!started_) qemu_name_ = info.qemu_name;
  saved_.monitor_problem = info.run_state.empty()
                               ? Problem{ProblemCode::kNoAnswer, "QEMU did not answer query-status"}
                               : Problem{};
  std::string run_state = info.run_state;
  // A SHUTDOWN of this very connection outranks a `running` that may be older: what takes it back
  // is a RESET or a RESUME. What else it may say, such as `postmigrate`, stands beside the
  // SHUTDOWN.
  if (std::exchange(down_in_handshake_, false) && saved_.evidence.facts().shutdown.has_value()) {
    if (!GuestGoesOn(StateOf(run_state))) {
      saved_.evidence.SawRunStateInShutdown(run_state, StateReport(run_state), now);
    }
    run_state.clear();
    SetState(VmState::kGuestDown, now);
  }
  SawRestart(now);
  away_ = false;
  if (CanLoseMonitor()) DeclareLost(now);
  saved_.evidence.SetMonitored(true);
  switch (std::exchange(saved_.monitor, Monitor::kReady)) {
    case Monitor::kNone:
      ApplyRunState(run_state, StateReport(run_state), now);
      return EnsureStarted(now);
    case Monitor::kUnseen:
      return ResumeAfterRestart(run_state, now);
    case Monitor::kLost:
      return Regain(run_state, now);
    case Monitor::kClosed:
      ForgetExit();
      ApplyRunState(run_state, StateReport(run_state), now);
      return ReopenShutdownFile();
    case Monitor::kReady:
      return;
  }
}

std::string VmSession::StateReport(absl::string_view run_state) const {
  return absl::StrCat(ReporterOf(saved_.run).state, run_state);
}

void VmSession::Regain(absl::string_view run_state, Instant now) {
  saved_.monitor_problem = {};
  ForgetExit();  // a QEMU that answers does not hang
  const VmState before = saved_.state_before_loss;
  ApplyRunState(run_state, StateReport(run_state), now);
  ReopenShutdownFile();
  Emit(MakeEvent(
           EventType::kMonitorRestored,
           absl::StrCat(ReporterOf(saved_.run).regained, "; the VM is ", StateText(saved_.state)),
           now),
       now);
  if (before != VmState::kUnreachable && before != saved_.state) {
    PublishUnseenChange(before, ReporterOf(saved_.run).was_lost, now);
  }
}

void VmSession::ResumeAfterRestart(absl::string_view run_state, Instant now) {
  ForgetExit();
  const VmState before = saved_.state;
  ApplyRunState(run_state, StateReport(run_state), now);
  ReopenShutdownFile();
  if (before == saved_.state || before == VmState::kUnreachable || run_state.empty()) {
    return PublishStatus();
  }
  PublishUnseenChange(before, "vmeventd stopped", now);
}

void VmSession::ReopenShutdownFile() {
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  TakeShutdownFileBack();
}

void VmSession::PublishUnseenChange(VmState before, absl::string_view since, Instant now) {
  VmEvent gap =
      MakeEvent(EventType::kGap,
                absl::StrCat("the VM was ", StateText(before), " when ", since, " and is ",
                             StateText(saved_.state), " now: the events between were not seen"),
                now);
  gap.gap_reason = GapReason::kUnseenChange;
  Emit(std::move(gap), now);
  EventType type = EventType::kResumed;
  if (saved_.state == VmState::kPaused) type = EventType::kPaused;
  if (saved_.state == VmState::kSuspended) type = EventType::kSuspended;
  if (saved_.state == VmState::kGuestDown) type = EventType::kGuestShutdown;
  VmEvent event = MakeEvent(type, absl::StrCat("the VM is ", StateText(saved_.state)), now);
  if (type == EventType::kGuestShutdown) event.shutdown = MakeDetail();
  Emit(std::move(event), now);
}

void VmSession::Handle(const input::MonitorHeld& /*input*/, Instant now) {
  saved_.monitor_problem = NoGreeting(now);
  saved_.evidence.SetMonitored(false);
  if (started_) return;
  saved_.monitor = Monitor::kLost;
  EnsureStarted(now);
}

void VmSession::Handle(const input::MonitorProblem& input, Instant now) {
  SetMonitorProblem(input.problem, now);
}

void VmSession::SetMonitorProblem(const Problem& problem, Instant now) {
  if (saved_.monitor_problem == problem) return;
  saved_.monitor_problem = problem;
  EnsureStarted(now);
}

void VmSession::SetRunProblem(absl::string_view run_state) {
  if (run_state == "io-error") {
    // The text of BLOCK_IO_ERROR stands.
    if (saved_.run_problem.code != ProblemCode::kIoError)
      saved_.run_problem = {ProblemCode::kIoError, std::string(kIoErrorProblem)};
  } else if (run_state == "internal-error") {
    saved_.run_problem = {ProblemCode::kInternalError, "paused by QEMU after an internal error"};
  } else {
    saved_.run_problem = {};
  }
}

void VmSession::Handle(const input::StateAnswer& input, Instant now) {
  FollowMigration(input.run_state, now);
  ForgetSilence();
  if (saved_.monitor == Monitor::kReady && saved_.state == VmState::kUnreachable) {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
    FollowMigration(input.run_state, now);
  }
  // A VM that arrives is as it was at its source, which no event reports unless it runs.
  if (saved_.evidence.facts().incoming && !input.run_state.empty() &&
      input.run_state != "inmigrate") {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
  }
  saved_.evidence.SawMigrationState(input.run_state, StateReport(input.run_state), now);
  if (input.run_state == "internal-error")
    saved_.evidence.SawInternalError(StateReport(input.run_state), now);
  if (input.run_state != "finish-migrate") SetRunProblem(input.run_state);
}

void VmSession::Handle(const input::MonitorClosed& input, Instant now) {
  poll_at_ = absl::InfiniteDuration();
  ForgetSilence();
  down_in_handshake_ = false;
  if (saved_.monitor == Monitor::kReady) {
    saved_.monitor = Monitor::kClosed;
    closed_at_ = now;
    close_reason_ = std::string(input.why);
  } else if (saved_.monitor == Monitor::kNone) {
    saved_.monitor = Monitor::kLost;
    closed_at_ = now;
    unready_ = true;
    SetMonitorProblem({ProblemCode::kMonitorLost,
                       absl::StrCat("monitor closed before it was ready: ", input.why)},
                      now);
  }
  // Ganeti reads the file as soon as the process is gone: it must be there before that, wherever
  // in its handshake the connection ended.
  if (saved_.evidence.decided() && file_step_ == FileStep::kUndone) RequestShutdownFile();
}

bool VmSession::OutlivesMonitor() const {
  return saved_.run.process_tracked || ReporterOf(saved_.run).is_manager;
}

bool VmSession::MayBeStarting(Instant now) const {
  return !ReporterOf(saved_.run).is_manager && !answered() &&
         now.wall - saved_.run.process_start < kStartTime;
}

absl::Duration VmSession::LostGrace() const {
  return saved_.evidence.decided() ? kLostGraceOfAnEnd : kLostGrace;
}

void VmSession::DeclareLost(Instant now) {
  saved_.evidence.SetMonitored(false);  // a missing SHUTDOWN is no evidence
  const Reporter& reporter = ReporterOf(saved_.run);
  const std::string& why = close_reason_;
  saved_.evidence.Saw(absl::StrCat(reporter.lost, why, reporter.lost_end), closed_at_);
  if (saved_.monitor_problem.empty())
    saved_.monitor_problem = {reporter.lost_code, absl::StrCat(reporter.lost_problem, why)};
  LoseMonitor(absl::StrCat(reporter.lost_message, why, reporter.lost_message_end), now);
}

void VmSession::DeclareAway(Instant now) {
  const Reporter& reporter = ReporterOf(saved_.run);
  if (saved_.monitor_problem.empty()) {
    saved_.monitor_problem = {reporter.lost_code, std::string(reporter.away_problem)};
  }
  LoseMonitor(std::string(reporter.away_message), now);
}

void VmSession::LoseMonitor(std::string message, Instant now) {
  saved_.monitor = Monitor::kLost;
  saved_.state_before_loss = saved_.state;
  if (saved_.state != VmState::kGuestDown) SetState(VmState::kUnreachable, now);
  Emit(MakeEvent(EventType::kMonitorLost, std::move(message), now), now);
}

void VmSession::ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  SetRunProblem(run_state);
  saved_.evidence.SawRunState(run_state, by, now);
  const VmState state = StateOf(run_state);
  if (GuestGoesOn(state)) {
    poll_at_ = absl::InfiniteDuration();
    AskIn(options_->hang_check, now);
    ReconsiderIntent();
    ForgetExit();
    if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  }
  if (state == VmState::kUnreachable) return;
  SetState(state, now);
  saved_.silence_problem = {};
}

}  // namespace vmeventd
