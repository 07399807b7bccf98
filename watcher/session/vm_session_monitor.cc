// A run's monitor: attached, held by another client, lost, and attached again; and the meaning of
// each of its events for the run (docs/internals/qemu.md).

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/names.h"
#include "watcher/core/qmp_message.h"
#include "watcher/session/command_pacer.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// QEMU sends no event when a VM that is paused already enters `finish-migrate` or `postmigrate`,
// nor when one arrives whose guest is down. A question waits twice as long as the one before.
constexpr absl::Duration kPausedPoll = absl::Seconds(1);
constexpr absl::Duration kMaxPausedPoll = absl::Seconds(30);
constexpr absl::Duration kMaxFinishingPoll = absl::Milliseconds(100);

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

// One guest reboot gives two or three RESET events within 50 ms (docs/internals/qemu.md).
constexpr absl::Duration kResetWindow = absl::Milliseconds(250);

// A word of QEMU's, in one line. Empty: it has none.
std::string Word(const QmpObject& data, const char* member) { return QmpLine(data, member, 128); }

// "write on virtio0: No space left on device". A disk without a device's name has that of its node.
std::string DescribeIoError(const QmpObject& data) {
  const auto first_of = [&](std::initializer_list<const char*> members) {
    for (const char* const member : members) {
      if (std::string text = Word(data, member); !text.empty()) return text;
    }
    return std::string();
  };
  const std::string where = first_of({"device", "node-name", "qom-path"});
  const std::string reason = first_of({"reason", "msg"});
  std::string text = Word(data, "operation");
  if (!where.empty()) absl::StrAppend(&text, text.empty() ? "" : " ", "on ", where);
  if (!reason.empty()) absl::StrAppend(&text, text.empty() ? "" : ": ", reason);
  return text;
}

// "by its guest (guest-reset)", as far as this QEMU says it.
std::string DescribeReset(const v1::ResetDetail& reset) {
  return absl::StrCat(!reset.has_by_guest() ? ""
                      : reset.by_guest()    ? " by its guest"
                                            : " by the host",
                      reset.reason().empty() ? "" : absl::StrCat(" (", reset.reason(), ")"));
}

}  // namespace

void VmSession::Handle(const input::MonitorReady& input, Instant now) {
  const MonitorInfo& info = input.info;
  goes_on_ = attached_ = false;
  saved_.evidence.facts.guest_can_exit |= info.guest_can_exit;
  saved_.evidence.facts.stays_down |= info.stays_down;
  saved_.evidence.facts.no_panic_device |= info.no_panic_device;
  BeginListening(now);
  Listen(now);
  saved_.uuid = info.uuid;
  saved_.qemu_version = info.qemu_version;
  if (!started_) qemu_name_ = info.qemu_name;
  std::string run_state = info.run_state;
  // A SHUTDOWN of this very connection outranks a `running` that may be older: what takes it back
  // is a RESET or a RESUME. What else it may say, such as `postmigrate`, stands beside the
  // SHUTDOWN.
  if (std::exchange(down_in_handshake_, false) && saved_.evidence.facts.shutdown.has_value()) {
    if (!GuestGoesOn(StateOf(run_state))) {
      saved_.evidence.SawRunStateInShutdown(run_state, StateReport(run_state), now);
    }
    run_state.clear();
    SetState(VmState::kGuestDown, now);
  }
  SawRestart(now);
  away_ = false;
  if (CanLoseMonitor()) DeclareLost(now);
  SetProblem(Subject::kMonitor, {ProblemCode::kNoAnswer,
                                 info.run_state.empty() ? "QEMU did not answer query-status" : ""});
  saved_.evidence.facts.monitored = true;
  const Monitor was = std::exchange(saved_.monitor, Monitor::kReady);
  if (was != Monitor::kReady) Attach(was, run_state, now);
  longest_poll_ = absl::ZeroDuration();
  FollowMigration(info.run_state, now);
  if (info.run_state.empty()) AskIn(options_->hang_check, now);
  effects_.push_back(AskQemu{Question::kGuestAgent});
}

void VmSession::Attach(Monitor was, absl::string_view run_state, Instant now) {
  const VmState before = was == Monitor::kLost ? saved_.state_before_loss : saved_.state;
  if (was != Monitor::kNone) ForgetExit();  // a QEMU that answers does not hang
  ApplyRunState(run_state, StateReport(run_state), now);
  if (was == Monitor::kLost && before == saved_.state) {
    saved_.state_time = saved_.state_time_before_loss;
  }
  if (was == Monitor::kNone) return EnsureStarted(now);
  TakeShutdownFileBack();
  if (was == Monitor::kClosed) return;
  const Reporter& reporter = ReporterOf(saved_.run);
  if (was == Monitor::kLost) {
    Emit(EventType::kMonitorRestored,
         absl::StrCat(reporter.name, " is connected; the VM is ", StateText(saved_.state)), now);
  }
  if (before == saved_.state || before == VmState::kUnreachable ||
      saved_.state == VmState::kUnreachable) {
    if (was == Monitor::kUnseen) PublishStatus();
    return;
  }
  const std::string since =
      was == Monitor::kLost ? absl::StrCat(reporter.name, " was lost") : "vmeventd stopped";
  Emit(MakeGap(GapReason::kUnseenChange,
               absl::StrCat("the VM was ", StateText(before), " when ", since, " and is ",
                            StateText(saved_.state), " now: the events between were not seen"),
               now.wall),
       now);
  EventType type = EventType::kResumed;
  if (saved_.state == VmState::kPaused) type = EventType::kPaused;
  if (saved_.state == VmState::kSuspended) type = EventType::kSuspended;
  if (saved_.state == VmState::kGuestDown) type = EventType::kGuestShutdown;
  Emit(type, absl::StrCat("the VM is ", StateText(saved_.state)), now);
}

void VmSession::BeginListening(Instant now) {
  const absl::Duration age = now.wall - saved_.run.process_start;
  const bool new_qemu = age < kLateAttach || age == absl::InfiniteDuration();
  if (saved_.monitor == Monitor::kReady || (saved_.monitor == Monitor::kNone && new_qemu)) return;
  saved_.unseen_until = now;
}

void VmSession::Listen(Instant now) {
  if (!std::exchange(listens_, true)) LostSight(now);
}

void VmSession::LostSight(Instant now) {
  const bool stays = saved_.evidence.facts.stays_down || ReporterOf(saved_.run).is_manager;
  saved_.evidence.LostSight(stays, now);
}

void VmSession::FollowMigration(absl::string_view run_state, Instant now) {
  poll_at_ = absl::InfiniteDuration();
  const bool finishing = run_state == "finish-migrate";
  // The source is stopped and its last pages are on the way; `postmigrate` comes when they have
  // arrived, and QEMU sends no event for it.
  if (finishing || (StateOf(run_state) == VmState::kPaused && run_state != "postmigrate")) {
    const absl::Duration longest = finishing ? kMaxFinishingPoll : kMaxPausedPoll;
    if (std::exchange(longest_poll_, longest) != longest) poll_wait_ = absl::ZeroDuration();
    poll_wait_ =
        std::clamp(poll_wait_ * 2, finishing ? CommandPacer::kQuietTime : kPausedPoll, longest);
    AskIn(poll_wait_, now);
  } else if (GuestGoesOn(StateOf(run_state))) {
    AskIn(options_->hang_check, now);
  }
}

// Delays the question: by then the answer may be known, or be no longer of use.
void VmSession::AskSoon(Instant now) {
  longest_poll_ = absl::ZeroDuration();
  AskIn(CommandPacer::kQuietTime, now);
}

void VmSession::AskIn(absl::Duration wait, Instant now) {
  if (ReporterOf(saved_.run).is_manager) return;  // it reports the run state by itself
  poll_at_ = now.monotonic + wait;
}

void VmSession::PollRunState(Instant now) {
  if (saved_.exiting_since.has_value())
    return AskIn(options_->hang_check, now);  // it may be ending
  effects_.push_back(AskQemu{Question::kRunState});
  AskIn(kPausedPoll, now);  // should no answer come
  if (options_->hang_check < absl::InfiniteDuration()) {
    answer_due_ = std::min(answer_due_, now.monotonic + kAnswerTime);
  }
}

void VmSession::ForgetSilence() {
  answer_due_ = absl::InfiniteDuration();
  SetProblem(Subject::kSilence, {});
}

std::string VmSession::StateReport(absl::string_view run_state) const {
  return absl::StrCat(ReporterOf(saved_.run).state, run_state);
}

void VmSession::Handle(const input::MonitorHeld& /*input*/, Instant now) {
  SetProblem(Subject::kMonitor, NoGreeting(now));
  saved_.evidence.facts.monitored = false;
  if (started_) return;
  saved_.monitor = Monitor::kLost;
  EnsureStarted(now);
}

void VmSession::SetMonitorProblem(const Problem& problem, Instant now) {
  if (ProblemOf(Subject::kMonitor) == problem) return;
  SetProblem(Subject::kMonitor, problem);
  EnsureStarted(now);
}

void VmSession::SetRunProblem(absl::string_view run_state) {
  if (run_state == "io-error") {
    // The text of BLOCK_IO_ERROR stands.
    if (ProblemOf(Subject::kRun).code != ProblemCode::kIoError)
      SetProblem(Subject::kRun, {ProblemCode::kIoError, std::string(kIoErrorProblem)});
  } else if (run_state == "internal-error") {
    SetProblem(Subject::kRun,
               {ProblemCode::kInternalError, "paused by QEMU after an internal error"});
  } else {
    SetProblem(Subject::kRun, {});
  }
}

void VmSession::Handle(const input::StateAnswer& input, Instant now) {
  FollowMigration(input.run_state, now);
  ForgetSilence();
  const bool answered = saved_.monitor == Monitor::kReady && !input.run_state.empty();
  if (answered && ProblemOf(Subject::kMonitor).code == ProblemCode::kNoAnswer) {
    SetProblem(Subject::kMonitor, {});
  }
  if (saved_.monitor == Monitor::kReady && saved_.state == VmState::kUnreachable) {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
    FollowMigration(input.run_state, now);
  }
  // A VM that arrives is as it was at its source, which no event reports unless it runs.
  if (saved_.evidence.facts.incoming && !input.run_state.empty() &&
      input.run_state != "inmigrate") {
    ApplyRunState(input.run_state, StateReport(input.run_state), now);
  }
  saved_.evidence.SawMigrationState(input.run_state, StateReport(input.run_state), now);
  if (input.run_state == "internal-error") {
    saved_.evidence.Saw(&Evidence::internal_error, StateReport(input.run_state), now,
                        EvidenceId::kInternalError);
  }
  if (!input.run_state.empty() && !GuestGoesOn(StateOf(input.run_state))) {
    SetPauseReason(input.run_state);
  }
  if (input.run_state != "finish-migrate") SetRunProblem(input.run_state);
}

void VmSession::Handle(const input::MonitorClosed& input, Instant now) {
  poll_at_ = absl::InfiniteDuration();
  ForgetSilence();
  down_in_handshake_ = listens_ = false;
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

void VmSession::DeclareLost(Instant now) {
  const Reporter& reporter = ReporterOf(saved_.run);
  const absl::string_view name = reporter.name;
  const bool away = saved_.monitor == Monitor::kUnseen;
  if (!away) {
    saved_.evidence.facts.monitored = false;  // a missing SHUTDOWN is no evidence
    saved_.evidence.Saw(absl::StrCat(name, " was lost (", close_reason_, ")"), closed_at_);
  }
  if (ProblemOf(Subject::kMonitor).empty()) {
    SetProblem(Subject::kMonitor,
               {reporter.is_manager ? ProblemCode::kLibvirtLost : ProblemCode::kMonitorLost,
                away ? absl::StrCat("vmeventd has not connected to ", name, " since it started")
                     : absl::StrCat(name, " was lost: ", close_reason_)});
  }
  saved_.monitor = Monitor::kLost;
  saved_.state_before_loss = saved_.state;
  saved_.state_time_before_loss = saved_.state_time;
  if (saved_.state != VmState::kGuestDown) SetState(VmState::kUnreachable, now);
  const std::string message =
      away ? absl::StrCat("vmeventd restarted and cannot connect to ", name)
           : absl::StrCat("the connection to ", name, " was lost (", close_reason_, ")");
  Emit(EventType::kMonitorLost, message + ": this does not mean that the VM has ended", now);
}

void VmSession::ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  SetRunProblem(run_state);
  const bool arrives = saved_.evidence.facts.incoming;
  saved_.evidence.SawRunState(run_state, by, now);
  // The button may have been pressed at its source.
  if (arrives && !saved_.evidence.facts.incoming) saved_.unseen_until = now;
  const VmState state = StateOf(run_state);
  if (GuestGoesOn(state)) {
    poll_at_ = absl::InfiniteDuration();
    AskIn(options_->hang_check, now);
    ReconsiderIntent();
    ForgetExit();
    TakeShutdownFileBack();
  }
  if (state == VmState::kUnreachable) return;
  SetState(state, now);
  SetPauseReason(run_state);
  SetProblem(Subject::kSilence, {});
}

// Events

VmSession::EventHandler VmSession::HandlerOf(absl::string_view event) {
  using Of = VmSession*;
  using Event = const QmpEvent&;
  static constexpr std::pair<absl::string_view, EventHandler> kHandlers[] = {
      {"SHUTDOWN", [](Of of, Event sent, Instant now) { of->OnShutdown(sent, now); }},
      {"POWERDOWN",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.SawPowerdown(of->SentAt(sent, now), now);
         of->Report(EventType::kPowerdownRequested, "the host pressed the power button", sent, now);
       }},
      {"RESET", [](Of of, Event sent, Instant now) { of->OnReset(sent, now); }},
      {"STOP", [](Of of, Event sent, Instant now) { of->OnStop(sent, now); }},
      {"RESUME",
       [](Of of, Event sent, Instant now) {
         const bool was_running = of->saved_.state == VmState::kRunning;
         of->ApplyRunState("running", "RESUME", now);
         if (of->started_ && !was_running) {
           of->Report(EventType::kResumed, "the VM runs again", sent, now);
         }
       }},
      {"GUEST_PANICKED", [](Of of, Event sent, Instant now) { of->OnPanic(sent, now); }},
      {"GUEST_CRASHLOADED", [](Of of, Event sent, Instant now) { of->OnPanic(sent, now); }},
      {"GUEST_PVSHUTDOWN",
       [](Of of, Event sent, Instant now) {
         of->Report(EventType::kPvshutdownRequested,
                    "the guest asked its pvpanic device for its shutdown", sent, now);
       }},
      {"WATCHDOG",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.SawWatchdog(QmpText(sent.data, "action"), now);
         of->Report(EventType::kWatchdogExpired, "the guest did not feed its watchdog", sent, now);
       }},
      {"SUSPEND",
       [](Of of, Event sent, Instant now) {
         of->SetState(VmState::kSuspended, now);
         of->Report(EventType::kSuspended, "the guest sleeps", sent, now);
       }},
      {"WAKEUP",
       [](Of of, Event sent, Instant now) {
         of->SetState(of->saved_.evidence.facts.paused ? VmState::kPaused : VmState::kRunning, now);
         if (of->saved_.evidence.facts.paused) of->AskSoon(now);
         of->Report(EventType::kWoken, "the guest woke up", sent, now);
       }},
      {"SUSPEND_DISK",
       [](Of of, Event sent, Instant now) {
         of->saved_.evidence.facts.hibernating = true;
         of->saved_.evidence.Saw("SUSPEND_DISK", now, EvidenceId::kHibernation);
         of->Report(EventType::kHibernating, "the guest hibernates", sent, now);
       }},
      {"VSERPORT_CHANGE", [](Of of, Event sent, Instant now) { of->OnPortChange(sent, now); }},
      {"BLOCK_IO_ERROR", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"BLOCK_JOB_ERROR", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"BLOCK_IMAGE_CORRUPTED", [](Of of, Event sent, Instant now) { of->OnIoError(sent, now); }},
      {"MEMORY_FAILURE", [](Of of, Event sent, Instant now) { of->OnMemoryFailure(sent, now); }},
      {"MIGRATION", [](Of of, Event sent, Instant now) { of->OnMigration(sent, now); }},
  };
  for (const auto& [name, handler] : kHandlers) {
    if (name == event) return handler;
  }
  return nullptr;
}

void VmSession::Report(EventType type, absl::string_view message, const QmpEvent& event,
                       Instant now, v1::Event out) {
  EnsureStarted(now);
  if (!Admit(type, now)) return;
  out.set_type(ToProto(type));
  out.set_message(std::string(message));
  if (ReporterOf(saved_.run).has_qemu) {
    if (event.time.has_value()) *out.mutable_qemu_time() = ToTimestamp(*event.time);
    out.set_qmp_event(event.name);
    out.set_detail_json(event.detail_json);
  }
  PublishEvent(std::move(out), now);
}

Instant VmSession::SentAt(const QmpEvent& event, Instant now) const {
  const bool waited =
      goes_on_ && event.time.has_value() && *event.time < std::min(options_->started, now.wall);
  if (!waited) return now;
  return {*event.time, now.monotonic - (now.wall - *event.time)};
}

void VmSession::OnShutdown(const QmpEvent& event, Instant now) {
  // A signal that it obeys late is not what is waited for any more.
  if (!saved_.evidence.facts.shutdown.has_value()) ForgetExit();
  BeginExit(now);
  poll_at_ = absl::InfiniteDuration();
  ForgetSilence();
  // The first cause wins.
  if (saved_.evidence.facts.shutdown.has_value()) return;
  const std::string reason = QmpText(event.data, "reason");
  ShutdownFact fact;
  fact.reason = ParseShutdownReason(reason);
  fact.guest = QmpBool(event.data, "guest");
  // The name of a reason that is newer than this program still shows where it came from.
  if (!fact.guest.has_value() && absl::StartsWith(reason, "host-")) fact.guest = false;
  if (!fact.guest.has_value() && absl::StartsWith(reason, "guest-")) fact.guest = true;
  fact.caveat = AgentCaveat(now.monotonic);
  const Instant sent_at = SentAt(event, now);
  BeginListening(sent_at);
  if (saved_.unseen_until.has_value()) {
    fact.unseen_age = sent_at.monotonic - saved_.unseen_until->monotonic;
  }
  down_in_handshake_ = saved_.monitor != Monitor::kReady;

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  saved_.evidence.SawShutdown(fact, std::move(what), event, sent_at, now);
  // Its QEMU mostly ends at once, which STOPPED reports. One that stays sends STOP, or is found by
  // DownReport().
  if (!started_) SetState(VmState::kGuestDown, now);
}

void VmSession::OnReset(const QmpEvent& event, Instant now) {
  saved_.evidence.Clear(EvidenceLog::kReset, "RESET", now);
  saved_.unseen_until.reset();
  // The guest begins again without its agent; a port that is reported has had an event.
  saved_.agent.closed.reset();
  if (!saved_.agent.reported) saved_.agent.open = false;
  ReconsiderIntent();
  ForgetExit();
  SetProblem(Subject::kRun, {});
  if (saved_.state != VmState::kRunning) {
    SetState(saved_.evidence.facts.paused ? VmState::kPaused : VmState::kRunning, now);
    if (saved_.evidence.facts.paused) AskSoon(now);
  }

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  if (!repeated) {
    v1::Event out;
    const std::optional<bool> by_guest = QmpBool(event.data, "guest");
    if (by_guest.has_value()) out.mutable_reset()->set_by_guest(*by_guest);
    out.mutable_reset()->set_reason(Word(event.data, "reason"));
    const std::string message = absl::StrCat("the VM was reset", DescribeReset(out.reset()));
    Report(EventType::kReset, message, event, now, std::move(out));
  }
  TakeShutdownFileBack();
}

void VmSession::OnStop(const QmpEvent& event, Instant now) {
  saved_.evidence.SawStop(now);
  if (saved_.evidence.facts.shutdown.has_value()) {
    ForgetExit();
    SetState(VmState::kGuestDown, now);
    Report(EventType::kGuestShutdown, "the guest is down and QEMU keeps running (-no-shutdown)",
           event, now);
    return;
  }
  // A manager reports by itself how a migration goes.
  saved_.evidence.facts.stop_unexplained = !ReporterOf(saved_.run).is_manager;
  const bool panicked =
      saved_.evidence.facts.guest_panicked && !saved_.evidence.facts.panic_doubted;
  SetState(panicked ? VmState::kGuestDown : VmState::kPaused, now);
  if (ProblemOf(Subject::kRun).code == ProblemCode::kIoError) {
    SetPauseReason("io-error");
  } else if (saved_.evidence.facts.watchdog_paused) {
    SetPauseReason("watchdog");
  } else if (saved_.evidence.facts.finishing_migration) {
    SetPauseReason("finish-migrate");
  }
  // Before STARTED the state is all there is to report: query-status will report it.
  if (started_) Report(EventType::kPaused, "the VM was paused", event, now);
  AskSoon(now);
}

void VmSession::OnPanic(const QmpEvent& event, Instant now) {
  v1::Event out;
  *out.mutable_panic() = ParseGuestPanic(event.data);
  const std::string& action = out.panic().action();
  if (action == "pause" || action == "poweroff") SetState(VmState::kGuestDown, now);
  saved_.evidence.SawPanic(event, now);
  Report(EventType::kGuestPanicked, "the guest's kernel panicked", event, now, std::move(out));
}

void VmSession::OnIoError(const QmpEvent& event, Instant now) {
  const std::string error = DescribeIoError(event.data);
  // The STOP follows. A job that stops leaves the VM as it is. Several requests fail at once: the
  // first is enough.
  if (event.name == "BLOCK_IO_ERROR" && QmpText(event.data, "action") == "stop" &&
      ProblemOf(Subject::kRun).code != ProblemCode::kIoError) {
    SetProblem(Subject::kRun, {ProblemCode::kIoError, absl::StrCat(kIoErrorProblem, ": ", error)});
    saved_.evidence.Saw(absl::StrCat("I/O error, for which QEMU paused the VM: ", error), now,
                        EvidenceId::kIoError);
  }
  const absl::string_view what = event.name == "BLOCK_JOB_ERROR" ? "a block job met an I/O error"
                                 : event.name == "BLOCK_IMAGE_CORRUPTED"
                                     ? "a disk image of the VM is corrupt"
                                     : "a disk of the VM met an I/O error";
  v1::Event out;
  v1::IoErrorDetail* const detail = out.mutable_io_error();
  detail->set_device(Word(event.data, "device"));
  detail->set_node_name(Word(event.data, "node-name"));
  detail->set_operation(Word(event.data, "operation"));
  detail->set_action(Word(event.data, "action"));
  const std::optional<bool> no_space = QmpBool(event.data, "nospace");
  if (no_space.has_value()) detail->set_no_space(*no_space);
  Report(EventType::kIoError, absl::StrCat(what, error.empty() ? "" : ": ", error), event, now,
         std::move(out));
}

void VmSession::OnMemoryFailure(const QmpEvent& event, Instant now) {
  const auto flags = event.data.find("flags");
  const QmpObject none = QmpObject::object();
  const QmpObject& of = flags == event.data.end() ? none : *flags;
  v1::Event out;
  v1::MemoryFailureDetail* const detail = out.mutable_memory_failure();
  detail->set_recipient(Word(event.data, "recipient"));
  detail->set_action(Word(event.data, "action"));
  detail->set_action_required(QmpBool(of, "action-required").value_or(false));
  detail->set_recursive(QmpBool(of, "recursive").value_or(false));
  Report(EventType::kMemoryFailure, "the VM's memory failed", event, now, std::move(out));
}

void VmSession::OnMigration(const QmpEvent& event, Instant now) {
  const std::string status = QmpText(event.data, "status");
  v1::Event out;
  out.mutable_migration()->set_status(Word(event.data, "status"));
  Report(
      EventType::kMigration,
      absl::StrCat("the migration's status changed", status.empty() ? "" : " to ", OneLine(status)),
      event, now, std::move(out));
  // `completed` comes on both sides; only the source is then in `postmigrate`.
  if (status == "completed") AskSoon(now);
  if (ReporterOf(saved_.run).is_manager) {
    saved_.evidence.SawMigration(status, now);
  } else {
    saved_.evidence.SawMonitorMigration(status, now);
  }
  if (status == "failed" && saved_.evidence.facts.incoming) {
    saved_.evidence.Saw("MIGRATION status=failed", now, EvidenceId::kNotRunning);
  }
}

}  // namespace vmeventd
