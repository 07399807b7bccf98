#include "watcher/session/vm_session.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

// Restarts of the daemon, and inputs that are neither the monitor's (vm_session_monitor.cc,
// vm_session_events.cc, vm_session_agent.cc) nor an intent (vm_session_intent.cc) nor the end
// (vm_session_end.cc), and time.

namespace vmeventd {
namespace {

// A QEMU that stays for longer after a SHUTDOWN, without a STOP, counts as one that stays.
constexpr absl::Duration kDownGrace = absl::Seconds(5);
// Time in which a daemon that was started again may reach the monitors that it had.
constexpr absl::Duration kAwayGrace = absl::Seconds(10);

// A QEMU that takes longer to exit has a problem, which is reported again each time that it is
// twice as old.
constexpr absl::Duration kExitReport = absl::Seconds(10);

// One GAP reports a flood: once it has paused for kDropQuiet, or has gone on for kDropReport.
constexpr absl::Duration kDropQuiet = absl::Seconds(1);
constexpr absl::Duration kDropReport = absl::Seconds(10);

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : options_(options), closed_at_(now) {
  saved_.run = std::move(run);
  saved_.attached_at = now;
  saved_.state_time = saved_.published_state_time = now.wall;
}

Effects VmSession::On(const Input& input, Instant now) {
  const bool of_file = std::holds_alternative<input::FileDone>(input) ||
                       std::holds_alternative<input::FileLeft>(input);
  if (gone_ && !of_file) return {};
  if (std::holds_alternative<input::Tick>(input) && now.monotonic < NextTick()) return {};
  if (!gone_ && IntentIsOver(now)) {
    CloseIntent(IntentEnd::kExpired, now);
  } else if (const auto* event = std::get_if<input::Event>(&input);
             event != nullptr && Find(event->event.name) == nullptr) {
    saved_.evidence.SetMonitored(true);
    return {};  // an event that is not followed changes nothing else
  }
  std::visit([&](const auto& known) { Handle(known, now); }, input);
  PublishChanges(now);
  return std::exchange(effects_, {});
}

// Across daemons

std::string VmSession::Save() const {
  if (!started_ || saved_.state == VmState::kStopped) return "";
  return SaveRunState(saved_);
}

bool VmSession::CanBeHandedOver() const {
  return started_ && !gone_ && !away_ && saved_.monitor == Monitor::kReady &&
         file_step_ == FileStep::kUndone;
}

void VmSession::Handle(const input::HandOver& /*input*/, Instant now) {
  FlushDropped(now);
  KeepNow();
}

void VmSession::GoOn(const HandedSession& handed) {
  away_ = false;
  goes_on_ = true;
  attached_ = !saved_.agent.unknown;
  saved_.monitor = Monitor::kReady;
  saved_.evidence.SetMonitored(true);
  poll_at_ = handed.poll_at;
  last_reset_ = handed.last_reset;
  file_written_ = handed.file_written;
}

absl::StatusOr<VmSession> VmSession::Restore(absl::string_view saved, const SessionOptions* options,
                                             Instant now) {
  absl::StatusOr<RunState> state = RestoreRunState(saved);
  if (!state.ok()) return state.status();
  VmSession session({}, options, now);
  session.saved_ = *std::move(state);
  session.started_ = session.away_ = true;
  if (session.saved_.exiting_since.has_value()) session.exit_report_ = kExitReport;
  session.published_problems_ = session.Problems();
  session.kept_ = absl::HashOf(saved);
  return session;
}

// The process

void VmSession::Handle(const input::TrackingLost& /*input*/, Instant /*now*/) {
  saved_.run.process_tracked = false;
  saved_.run.pid = 0;
  PublishStatus();
}

void VmSession::Handle(const input::ProcessFound& input, Instant /*now*/) {
  saved_.run.SetProcess(input.process);
  if (started_) PublishStatus();
}

void VmSession::Handle(const input::OomKills& input, Instant /*now*/) {
  saved_.run.oom_kills = input.kills;
  KeepAtOnce();
}

void VmSession::Handle(const input::SignalSent& input, Instant now) {
  saved_.evidence.SawSignal(input.sender, now);
  BeginExit(now);
}

void VmSession::Handle(const input::NamedOomVictim& input, Instant now) {
  saved_.evidence.SawOomVictim(input.victim, now);
}

void VmSession::Handle(const input::HostShutdown& input, Instant now) {
  saved_.evidence.SawHostShutdown(input.shutting_down, input.by, now);
}

void VmSession::Handle(const input::NextId& input, Instant /*now*/) {
  saved_.run.domain_id = input.domain_id;
  KeepAtOnce();
}

void VmSession::Handle(const input::Socket& input, Instant /*now*/) {
  saved_.run.socket = input.identity;
  KeepAtOnce();
}

void VmSession::Handle(const input::NewLabels& input, Instant /*now*/) {
  saved_.labels = input.labels;
}

void VmSession::Handle(const input::SharedUuid& input, Instant /*now*/) {
  saved_.uuid_problem = {ProblemCode::kSharedUuid, std::string(input.problem)};
}

// Time

void VmSession::Handle(const input::Tick& /*input*/, Instant now) {
  if (now.monotonic >= poll_at_) PollRunState(now);
  if (drops_.has_value() && now.monotonic >= DropReport()) FlushDropped(now);
  if (now.monotonic >= DownReport()) {
    SetState(VmState::kGuestDown, now);
    VmEvent down =
        MakeEvent(EventType::kGuestShutdown, "the guest is down and QEMU has not ended yet", now);
    down.shutdown = MakeDetail();
    Emit(std::move(down), now);
  }
  if (CanLoseMonitor() && now.monotonic >= closed_at_.monotonic + LostGrace()) {
    DeclareLost(now);
  }
  if (saved_.monitor == Monitor::kUnseen && OutlivesMonitor() &&
      now.monotonic >= closed_at_.monotonic + kAwayGrace) {
    DeclareAway(now);
  }
  if (ExitIsLate(now) || now.monotonic >= answer_due_) effects_.push_back(ExamineThreads{});
}

void VmSession::Handle(const input::Threads& input, Instant now) {
  const std::string threads =
      input.states.empty() ? "" : absl::StrCat("; its threads: ", input.states);
  if (now.monotonic >= answer_due_) {
    answer_due_ = absl::InfiniteDuration();
    saved_.silence_problem = {ProblemCode::kNoAnswer,
                              absl::StrCat("QEMU does not answer", threads)};
    SetState(VmState::kUnreachable, now);
  }
  if (!ExitIsLate(now)) return;
  const absl::Duration waited = now.monotonic - saved_.exiting_since->monotonic;
  while (exit_report_ <= waited) exit_report_ *= 2;
  const int64_t seconds = absl::ToInt64Seconds(waited);
  const SignalSender* const sender = saved_.evidence.SenderOfLateEnd();
  saved_.exit_problem.code = ProblemCode::kExitLate;
  saved_.exit_problem.text = absl::StrCat(
      sender == nullptr
          ? absl::StrCat("QEMU has not exited for ", seconds, " s after its shutdown")
          : absl::StrCat(SignalName(sender->signal), " sent by ", DescribeSender(*sender), " ",
                         seconds, " s ago, and QEMU has not ended"),
      threads);
}

absl::Duration VmSession::NextTick() const {
  absl::Duration next = absl::InfiniteDuration();
  if (CanLoseMonitor()) next = closed_at_.monotonic + LostGrace();
  if (saved_.monitor == Monitor::kUnseen && !gone_ && OutlivesMonitor()) {
    next = closed_at_.monotonic + kAwayGrace;
  }
  if (saved_.intent.has_value()) next = std::min(next, saved_.intent->deadline);
  next = std::min({next, DownReport(), keep_at_, poll_at_, answer_due_});
  if (saved_.exiting_since.has_value())
    next = std::min(next, saved_.exiting_since->monotonic + exit_report_);
  if (drops_.has_value()) next = std::min(next, DropReport());
  return next;
}

absl::Duration VmSession::DropReport() const {
  return std::min(drops_->last + kDropQuiet, drops_->first + kDropReport);
}

absl::Duration VmSession::DownReport() const {
  if (gone_ || !saved_.exiting_since.has_value() || !saved_.evidence.facts().shutdown.has_value() ||
      (started_ && saved_.state == VmState::kGuestDown)) {
    return absl::InfiniteDuration();
  }
  return saved_.exiting_since->monotonic + kDownGrace;
}

void VmSession::BeginExit(Instant now) {
  if (saved_.exiting_since.has_value()) return;
  saved_.exiting_since = now;
  exit_report_ = kExitReport;
}

void VmSession::ForgetExit() {
  saved_.exiting_since.reset();
  saved_.exit_problem = {};
}

void VmSession::SetState(VmState state, Instant now) {
  if (saved_.state == state) return;
  saved_.state = state;
  saved_.state_time = now.wall;
}

void VmSession::SawRestart(Instant now) {
  if (!away_) return;
  saved_.evidence.Saw("vmeventd was started again: what happened while it was away was not seen",
                      now);
}

}  // namespace vmeventd
