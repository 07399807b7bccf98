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

Effects VmSession::OnMonitorReady(const MonitorInfo& info, Instant now) {
  return Step(now, [&] {
    BecomeReady(info, now);
    longest_poll_ = absl::ZeroDuration();
    FollowMigration(info.run_state, now);
    effects_.push_back(QueryGuestAgent{});
  });
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
  if (!ReporterOf(run_).can_be_asked) return;
  poll_at_ = now.monotonic + wait;
}

void VmSession::PollRunState(Instant now) {
  if (exiting_since_.has_value()) return AskIn(options_->hang_check, now);  // it may be ending
  effects_.push_back(QueryRunState{});
  AskIn(kPausedPoll, now);  // should no answer come
  if (options_->hang_check < absl::InfiniteDuration()) {
    answer_due_ = std::min(answer_due_, now.monotonic + kAnswerTime);
  }
}

void VmSession::ForgetSilence() {
  answer_due_ = absl::InfiniteDuration();
  silence_problem_.clear();
}

void VmSession::BecomeReady(const MonitorInfo& info, Instant now) {
  goes_on_ = false;
  if (info.guest_can_exit) evidence_.SetGuestCanExit();
  attached_ = false;
  uuid_ = info.uuid;
  qemu_version_ = info.qemu_version;
  ShareTexts();
  if (!started_) qemu_name_ = info.qemu_name;
  run_.libvirtd_began_ns = info.libvirtd_began_ns;
  monitor_problem_ = info.run_state.empty() ? "QEMU did not answer query-status" : "";
  std::string run_state = info.run_state;
  // A SHUTDOWN of this very connection outranks a `running` that may be older: what takes it back
  // is a RESET or a RESUME. What else it may say, such as `postmigrate`, stands beside the
  // SHUTDOWN.
  if (std::exchange(down_in_handshake_, false) && evidence_.facts().shutdown.has_value()) {
    if (!GuestGoesOn(StateOf(run_state))) {
      evidence_.SawRunStateInShutdown(run_state, StateReport(run_state), now);
    }
    run_state.clear();
    SetState(VmState::kGuestDown, now);
  }
  SawRestart(now);
  away_ = false;
  if (CanLoseMonitor()) DeclareLost(now);
  evidence_.SetMonitored(true);
  switch (std::exchange(monitor_, Monitor::kReady)) {
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
  return absl::StrCat(ReporterOf(run_).state, run_state);
}

void VmSession::Regain(absl::string_view run_state, Instant now) {
  monitor_problem_.clear();
  ForgetExit();  // a QEMU that answers does not hang
  const VmState before = state_before_loss_;
  ApplyRunState(run_state, StateReport(run_state), now);
  ReopenShutdownFile();
  Emit(MakeEvent(EventType::kMonitorRestored,
                 absl::StrCat(ReporterOf(run_).regained, "; the VM is ", StateText(state_)), now),
       now);
  if (before != VmState::kUnreachable && before != state_) {
    PublishUnseenChange(before, ReporterOf(run_).was_lost, now);
  }
}

void VmSession::ResumeAfterRestart(absl::string_view run_state, Instant now) {
  ForgetExit();
  const VmState before = state_;
  ApplyRunState(run_state, StateReport(run_state), now);
  ReopenShutdownFile();
  if (before == state_ || before == VmState::kUnreachable || run_state.empty()) {
    return PublishStatus();
  }
  PublishUnseenChange(before, "vmeventd stopped", now);
}

void VmSession::ReopenShutdownFile() {
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  TakeShutdownFileBack();
}

void VmSession::PublishUnseenChange(VmState before, absl::string_view since, Instant now) {
  Emit(MakeEvent(EventType::kGap,
                 absl::StrCat("the VM was ", StateText(before), " when ", since, " and is ",
                              StateText(state_), " now: the events between were not seen"),
                 now),
       now);
  EventType type = EventType::kResumed;
  if (state_ == VmState::kPaused) type = EventType::kPaused;
  if (state_ == VmState::kSuspended) type = EventType::kSuspended;
  if (state_ == VmState::kGuestDown) type = EventType::kGuestShutdown;
  VmEvent event = MakeEvent(type, absl::StrCat("the VM is ", StateText(state_)), now);
  if (type == EventType::kGuestShutdown) event.shutdown = MakeDetail();
  Emit(std::move(event), now);
}

Effects VmSession::OnMonitorHeld(Instant now) {
  return Step(now, [&] {
    monitor_problem_ = NoGreeting(now);
    evidence_.SetMonitored(false);
    if (started_) return;
    monitor_ = Monitor::kLost;
    EnsureStarted(now);
  });
}

Effects VmSession::OnMonitorProblem(absl::string_view problem, Instant now) {
  return Step(now, [&] { SetMonitorProblem(problem, now); });
}

void VmSession::SetMonitorProblem(absl::string_view problem, Instant now) {
  if (monitor_problem_ == problem) return;
  monitor_problem_ = problem;
  EnsureStarted(now);
}

void VmSession::SetRunProblem(absl::string_view run_state) {
  if (run_state == "io-error") {
    // What BLOCK_IO_ERROR said stands.
    if (!absl::StartsWith(run_problem_.str(), kIoErrorProblem)) run_problem_ = kIoErrorProblem;
  } else {
    run_problem_ = run_state == "internal-error" ? "paused by QEMU after an internal error" : "";
  }
}

Effects VmSession::OnRunState(absl::string_view run_state, Instant now) {
  return Step(now, [&] {
    FollowMigration(run_state, now);
    ForgetSilence();
    if (monitor_ == Monitor::kReady && state_ == VmState::kUnreachable) {
      ApplyRunState(run_state, StateReport(run_state), now);
      FollowMigration(run_state, now);
    }
    // What arrives is as it was at its source, which no event says unless it runs.
    if (evidence_.facts().incoming && !run_state.empty() && run_state != "inmigrate") {
      ApplyRunState(run_state, StateReport(run_state), now);
    }
    evidence_.SawMigrationState(run_state, StateReport(run_state), now);
    if (run_state == "internal-error") evidence_.SawInternalError(StateReport(run_state), now);
    if (run_state != "finish-migrate") SetRunProblem(run_state);
  });
}

Effects VmSession::OnMonitorClosed(absl::string_view why, Instant now) {
  if (gone_) return {};
  return Step(now, [&] {
    poll_at_ = absl::InfiniteDuration();
    ForgetSilence();
    down_in_handshake_ = false;
    if (monitor_ == Monitor::kReady) {
      monitor_ = Monitor::kClosed;
      closed_at_ = now;
      close_reason_ = why;
    } else if (monitor_ == Monitor::kNone) {
      monitor_ = Monitor::kLost;
      closed_at_ = now;
      unready_ = true;
      SetMonitorProblem(absl::StrCat("monitor closed before it was ready: ", why), now);
    }
    // Ganeti reads the file as soon as the process is gone: it must be there before that, wherever
    // in its handshake the connection ended.
    if (evidence_.decided() && file_step_ == FileStep::kUndone) RequestShutdownFile();
  });
}

bool VmSession::OutlivesMonitor() const {
  return run_.process_tracked || ReporterOf(run_).is_manager;
}

bool VmSession::MayBeStarting(Instant now) const {
  return !ReporterOf(run_).is_manager && !answered() && now.wall - run_.process_start < kStartTime;
}

absl::Duration VmSession::LostGrace() const {
  return evidence_.decided() ? kLostGraceOfAnEnd : kLostGrace;
}

void VmSession::DeclareLost(Instant now) {
  evidence_.SetMonitored(false);  // nobody listens: that no SHUTDOWN comes says nothing
  const Reporter& reporter = ReporterOf(run_);
  const std::string why(close_reason_);
  evidence_.Saw(absl::StrCat(reporter.lost, why, reporter.lost_end), closed_at_);
  if (monitor_problem_.empty()) monitor_problem_ = absl::StrCat(reporter.lost_problem, why);
  LoseMonitor(absl::StrCat(reporter.lost_message, why, reporter.lost_message_end), now);
}

void VmSession::DeclareAway(Instant now) {
  const Reporter& reporter = ReporterOf(run_);
  if (monitor_problem_.empty()) monitor_problem_ = reporter.away_problem;
  LoseMonitor(std::string(reporter.away_message), now);
}

void VmSession::LoseMonitor(std::string message, Instant now) {
  monitor_ = Monitor::kLost;
  state_before_loss_ = state_;
  if (state_ != VmState::kGuestDown) SetState(VmState::kUnreachable, now);
  Emit(MakeEvent(EventType::kMonitorLost, std::move(message), now), now);
}

void VmSession::ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  SetRunProblem(run_state);
  evidence_.SawRunState(run_state, by, now);
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
  silence_problem_.clear();
}

}  // namespace vmeventd
