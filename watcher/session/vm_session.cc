#include "watcher/session/vm_session.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/text.h"
#include "watcher/core/names.h"

// Restarts of the daemon, time, intents and the guest agent.

namespace vmeventd {
namespace {

// A QEMU that is still alive this long after SHUTDOWN, without a STOP, is reported as GUEST_DOWN.
constexpr absl::Duration kDownGrace = absl::Seconds(5);
// VmSession::kLostGrace once the class is known, when a QEMU sometimes frees a large memory.
constexpr absl::Duration kLostGraceOfAnEnd = absl::Seconds(5);
// Time in which a daemon that was started again may reach the monitors that it had.
constexpr absl::Duration kAwayGrace = absl::Seconds(10);

// A QEMU that takes longer to exit has a problem, which is reported again each time that it is
// twice as old.
constexpr absl::Duration kExitReport = absl::Seconds(10);

// One GAP reports a flood: once it has paused for kDropQuiet, or has gone on for kDropReport.
constexpr absl::Duration kDropQuiet = absl::Seconds(1);
constexpr absl::Duration kDropReport = absl::Seconds(10);

// Returns whether the VM was there when that was reported. The end of a connection is the end of a
// time in which its end would have been seen.
bool IsSignOfLife(const Input& input) {
  return std::visit(Overloaded{[](const input::MonitorReady&) { return true; },
                               [](const input::StateAnswer&) { return true; },
                               [](const input::AgentAnswer&) { return true; },
                               [](const input::MonitorClosed&) { return true; },
                               [](const input::ProcessFound&) { return true; },
                               [](const input::TrackingLost&) { return true; },
                               [](const auto&) { return false; }},
                    input);
}

// The newest time in the saved state of a run at which it was alive. A signal that it was sent, and
// the host's shutdown, may be recorded after its end.
absl::Time LastTimeIn(const RunState& state) {
  absl::Time last =
      std::max({state.attached_at.wall, state.state_time, state.published_state_time});
  for (const EvidenceEntry& seen : state.evidence.timeline) {
    if (seen.id == EvidenceId::kSignalSent || seen.id == EvidenceId::kHostShutdown) continue;
    last = std::max(last, seen.time);
  }
  return last;
}

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : options_(options), closed_at_(now), alive_at_(now.wall) {
  saved_.run = std::move(run);
  saved_.attached_at = now;
  saved_.state_time = saved_.published_state_time = now.wall;
}

Effects VmSession::On(const Input& input, Instant now) {
  const bool of_end = std::holds_alternative<input::FileDone>(input) ||
                      std::holds_alternative<input::WordsRead>(input);
  if (gone_ && !of_end) return {};
  if (std::holds_alternative<input::Tick>(input) && now.monotonic < NextTick()) return {};
  EvidenceLog& evidence = saved_.evidence;
  const auto* const event = std::get_if<input::Event>(&input);
  const EventHandler handler = event == nullptr ? nullptr : HandlerOf(event->event.name);
  evidence.facts.monitored |= event != nullptr;
  const Instant sent_at = event == nullptr ? now : SentAt(event->event, now);
  const bool outlived = !gone_ && sent_at.monotonic >= WatchdogEnd();
  if (outlived) evidence.OutlivedWatchdog(now);
  if (!gone_ && saved_.intent.has_value() && now.monotonic >= saved_.intent->deadline) {
    CloseIntent(IntentEnd::kExpired, now);
  } else if (event != nullptr && handler == nullptr && !outlived) {
    return {};  // an event that is not followed changes nothing else
  }
  if (event != nullptr) {
    Listen(now);
    alive_at_ = std::max(alive_at_, std::min(sent_at.wall, now.wall));
  } else if (IsSignOfLife(input) && !IsCatchingUp(now)) {
    alive_at_ = now.wall;
  }
  const Overloaded handle{
      [&](const input::Socket& in) { saved_.run.socket = in.identity; },
      [&](const input::MonitorProblem& in) { SetMonitorProblem(in.problem, now); },
      [&](const input::ProcessFound& in) {
        saved_.run.SetProcess(in.process);
        if (started_) PublishStatus();
      },
      [&](const input::TrackingLost&) {
        saved_.run.process_tracked = false;
        saved_.run.pid = 0;
        PublishStatus();
      },
      [&](const input::Event& in) {
        if (handler != nullptr) handler(this, in.event, now);
      },
      [&](const input::OomKills& in) { saved_.run.oom_kills = in.kills; },
      [&](const input::SignalSent& in) {
        evidence.SawSignal(in.sender, now);
        BeginExit(now);
      },
      [&](const input::NamedOomVictim& in) { evidence.SawOomVictim(in.victim, now); },
      [&](const input::NewLabels& in) {
        saved_.labels = WithRules(options_->label_rules, saved_.run.name, in.labels);
      },
      [&](const input::NextId& in) { saved_.run.domain_id = in.domain_id; },
      [&](const input::ReportedPause& in) { SetPauseReason(in.run_state); },
      [&](const input::ReportedEnd& in) {
        evidence.facts.manager_end = in.end;
        evidence.facts.migrated |= in.end == ManagerEnd::kMigrated;
        evidence.Saw(std::string(in.what), now);
      },
      [&](const input::HostShutdown& in) {
        evidence.SawHostShutdown(in.shutting_down, in.by, now);
      },
      [&](const input::SharedUuid& in) {
        SetProblem(Subject::kUuid, {ProblemCode::kSharedUuid, std::string(in.problem)});
      },
      [&](const input::SharedPath& in) {
        SetProblem(Subject::kPath, {ProblemCode::kPathShared, std::string(in.problem)});
      },
      [&](const input::DirectoryHangs& in) {
        constexpr char kHangs[] = "the directory of its monitor's socket does not answer";
        SetProblem(Subject::kDirectory,
                   in.hangs ? Problem{ProblemCode::kDirectoryHangs, kHangs} : Problem());
      },
      [&](const input::IntentWithdrawn&) {
        if (saved_.intent.has_value()) CloseIntent(IntentEnd::kWithdrawn, now);
      },
      [&](const input::HandOver&) {
        FlushDropped(now);
        SaveNow();
      },
      [&](const auto& other) { Handle(other, now); }};
  std::visit(handle, input);
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

void VmSession::Resume(Instant now) {
  away_ = false;
  goes_on_ = listens_ = true;
  resumed_at_ = now.monotonic;
  attached_ = !saved_.agent.unknown;
  saved_.monitor = Monitor::kReady;
  saved_.evidence.facts.monitored = true;
  if (saved_.evidence.facts.shutdown.has_value()) return;
  if (saved_.evidence.facts.paused) return AskSoon(now);
  AskIn(options_->hang_check, now);
}

absl::StatusOr<VmSession> VmSession::Restore(absl::string_view saved, const SessionOptions* options,
                                             Instant now) {
  absl::StatusOr<RunState> state = RestoreRunState(saved);
  if (!state.ok()) return state.status();
  VmSession session({}, options, now);
  session.saved_ = *std::move(state);
  session.started_ = session.away_ = true;
  session.alive_at_ = std::max(options->last_watched, LastTimeIn(session.saved_));
  if (session.saved_.exiting_since.has_value()) session.exit_report_ = kExitReport;
  session.published_problems_ = session.Problems();
  session.SetProblem(Subject::kDirectory, {});  // if it still hangs, that is found again
  session.saved_hash_ = absl::HashOf(saved);
  return session;
}

// Time

void VmSession::Handle(const input::Tick& /*input*/, Instant now) {
  if (now.monotonic >= poll_at_) PollRunState(now);
  if (drops_.has_value() && now.monotonic >= DropReport()) FlushDropped(now);
  if (now.monotonic >= DownReport()) {
    SetState(VmState::kGuestDown, now);
    Emit(EventType::kGuestShutdown, "the guest is down and QEMU has not ended yet", now);
  }
  if (now.monotonic >= LossReport()) DeclareLost(now);
  if (ExitIsLate(now) || now.monotonic >= answer_due_) effects_.push_back(ExamineThreads{});
}

void VmSession::Handle(const input::Threads& input, Instant now) {
  std::string why = input.states.empty() ? "" : absl::StrCat("; its threads: ", input.states);
  ProblemCode silent = ProblemCode::kNoAnswer;
  ProblemCode late_exit = ProblemCode::kExitLate;
  if (input.dumps_core) {
    silent = late_exit = ProblemCode::kCoreDumping;
    why = ": it has crashed, and the kernel writes its core";
  } else if (!input.frozen_by.empty()) {
    silent = late_exit = ProblemCode::kFrozen;
    why = absl::StrCat(": it is frozen with its cgroup, ", EscapeNonUtf8(input.frozen_by),
                       ", as by docker pause or systemctl freeze");
  }
  if (now.monotonic >= answer_due_) {
    answer_due_ = absl::InfiniteDuration();
    SetProblem(Subject::kSilence, {silent, absl::StrCat("QEMU does not answer", why)});
    SetState(VmState::kUnreachable, now);
  }
  if (!ExitIsLate(now)) return;
  const absl::Duration waited = now.monotonic - saved_.exiting_since->monotonic;
  while (exit_report_ <= waited) exit_report_ *= 2;
  const int64_t seconds = absl::ToInt64Seconds(waited);
  // Sender of the signal after which it should have ended, unless its SHUTDOWN shows more.
  const Evidence& facts = saved_.evidence.facts;
  const SignalSender* const sender = facts.killer.has_value()     ? facts.killer.get()
                                     : facts.shutdown.has_value() ? nullptr
                                                                  : facts.signaller.get();
  const std::string late =
      sender == nullptr
          ? absl::StrCat("QEMU has not exited for ", seconds, " s after its shutdown")
          : absl::StrCat(SignalName(sender->signal), " sent by ", DescribeSender(*sender), " ",
                         seconds, " s ago, and QEMU has not ended");
  SetProblem(Subject::kExit, {late_exit, late + why});
}

absl::Duration VmSession::NextTick() const {
  absl::Duration next = absl::InfiniteDuration();
  if (gone_) return next;
  next = std::min({LossReport(), DownReport(), save_at_, poll_at_, answer_due_, WatchdogEnd()});
  if (saved_.intent.has_value()) next = std::min(next, saved_.intent->deadline);
  if (saved_.exiting_since.has_value())
    next = std::min(next, saved_.exiting_since->monotonic + exit_report_);
  if (drops_.has_value()) next = std::min(next, DropReport());
  return next;
}

absl::Duration VmSession::DropReport() const {
  return std::min(drops_->last + kDropQuiet, drops_->first + kDropReport);
}

absl::Duration VmSession::WatchdogEnd() const {
  const EvidenceLog& evidence = saved_.evidence;
  if (!evidence.watchdog_at.has_value() || evidence.facts.shutdown.has_value()) {
    return absl::InfiniteDuration();
  }
  // Its POWERDOWN follows at once, and does not count longer.
  return evidence.watchdog_at->monotonic + options_->powerdown_window + absl::Seconds(1);
}

absl::Duration VmSession::LossReport() const {
  if (CanLoseMonitor()) {
    return closed_at_.monotonic + (saved_.evidence.decided() ? kLostGraceOfAnEnd : kLostGrace);
  }
  const bool unseen = saved_.monitor == Monitor::kUnseen && OutlivesMonitor();
  return unseen ? closed_at_.monotonic + kAwayGrace : absl::InfiniteDuration();
}

absl::Duration VmSession::DownReport() const {
  if (gone_ || !saved_.exiting_since.has_value() || !saved_.evidence.facts.shutdown.has_value() ||
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
  SetProblem(Subject::kExit, {});
}

void VmSession::SetState(VmState state, Instant now) {
  if (saved_.state == state) return;
  saved_.state = state;
  saved_.state_time = now.wall;
  saved_.pause_reason.clear();
}

void VmSession::SetPauseReason(absl::string_view run_state) {
  constexpr size_t kMaxBytes = 64;
  if (saved_.state != VmState::kPaused) return;
  std::string reason(Utf8Prefix(OneLine(run_state), kMaxBytes));
  if (saved_.pause_reason == reason) return;
  saved_.pause_reason = std::move(reason);
  pause_reason_changed_ = true;
}

void VmSession::SawRestart(Instant now) {
  if (!away_) return;
  saved_.evidence.Saw("vmeventd restarted: events while it was down were not seen", now);
}

// Intents that were declared with the run: DeclareIntent in vm_events.proto.

absl::Status VmSession::CheckIntent(Instant now) const {
  if (!saved_.evidence.decided()) {
    if (!options_->event_limits || intents_.Has(now.monotonic)) return absl::OkStatus();
    return WithReason("TOO_MANY_INTENTS", absl::ResourceExhaustedError(
                                              "vm_name: too many intents were declared for this "
                                              "run: at most 100 at once and one each "
                                              "2 s; declare one for as long as the work takes"));
  }
  const Verdict verdict = CurrentVerdict();
  return WithReason("END_IS_DECIDED", absl::FailedPreconditionError(absl::StrCat(
                                          "the intent would have no effect: what decides "
                                          "the end of the run was already seen: ",
                                          CauseSentence(verdict.cause), " (rule ", verdict.rule,
                                          "); declare an intent before the VM is asked to end")));
}

const v1::Intent* VmSession::IntentOfRequest(absl::string_view request_id) const {
  for (const auto* intent : {&saved_.intent, &saved_.counted_intent}) {
    if (intent->has_value() && !request_id.empty() &&
        (*intent)->intent.request_id() == request_id) {
      return &(*intent)->intent;
    }
  }
  return nullptr;
}

void VmSession::Handle(const input::IntentDeclared& input, Instant now) {
  if (saved_.intent.has_value()) CloseIntent(IntentEnd::kReplaced, now);
  const v1::Intent& intent = input.intent;
  const absl::Duration deadline = now.monotonic + (FromTimestamp(intent.expire_time()) - now.wall);
  v1::Event event =
      MakeEvent(EventType::kIntentDeclared,
                absl::StrCat(intent.actor(), " intends to end the VM: ", intent.reason()));
  *event.mutable_intent() = intent;
  intents_.Spend(now.monotonic);
  saved_.intent = DeclaredIntent{intent, now.wall, deadline};
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::CloseIntent(IntentEnd end, Instant now) {
  v1::Event event =
      MakeEvent(EventType::kIntentWithdrawn,
                absl::StrCat("the intent of ", saved_.intent->intent.actor(),
                             end == IntentEnd::kExpired    ? " has expired"
                             : end == IntentEnd::kReplaced ? " was replaced by a newer one"
                                                           : " was withdrawn"));
  *event.mutable_intent() = saved_.intent->intent;
  event.set_intent_end(ToProto(end));
  if (saved_.evidence.facts.intended && !saved_.counted_intent.has_value()) {
    saved_.counted_intent = std::move(saved_.intent);
  }
  saved_.intent.reset();
  ReconsiderIntent();
  EmitAlways(std::move(event), now);
}

void VmSession::ReconsiderIntent() {
  if (saved_.evidence.decided()) return;  // what came first stands
  saved_.evidence.facts.intended = saved_.intent.has_value();
  saved_.counted_intent.reset();
}

// The guest agent, by which a host can shut a guest down without a trace on the monitor.

// The guest has opened or closed a virtio-serial port whose device has an id.
void VmSession::OnPortChange(const QmpEvent& event, Instant now) {
  const std::string port = QmpText(event.data, "id");
  const std::optional<bool> open = QmpBool(event.data, "open");
  if (port.empty() || !open.has_value()) return;
  if (saved_.agent.reported && saved_.agent.port == port) return SetAgentOpen(*open, now);
  // Either it was plugged in since, or it is a console, of which a guest may send any number.
  if (absl::c_linear_search(saved_.agent.other_ports, port)) return;
  if (absl::c_linear_search(asked_about_, port)) return;
  if (asked_about_.size() == GuestAgentProbe::kMaxPorts) return;
  asked_about_.push_back(port);
  effects_.push_back(AskQemu{Question::kGuestAgent});
}

void VmSession::Handle(const input::AgentAnswer& input, Instant now) {
  saved_.agent.unknown = false;
  SetAgentOpen(input.info.open, now);
  static_cast<GuestAgentInfo&>(saved_.agent) = input.info;
  if (!std::exchange(attached_, true) && started_) PublishStatus();
}

void VmSession::SetAgentOpen(bool open, Instant now) {
  const bool was_open = std::exchange(saved_.agent.open, open);
  if (open && !was_open) {
    saved_.agent.opened = now;
    saved_.agent.closed.reset();
  } else if (!open && was_open) {
    saved_.agent.closed = now;
  }
}

// A host that asks the agent leaves no trace, and the agent is gone before its guest is down: so
// one counts that was there as late as a press of the power button would.
std::optional<ShutdownCaveat> VmSession::AgentCaveat(absl::Duration now) const {
  if (saved_.agent.open) return ShutdownCaveat::kGuestAgentConnected;
  if (saved_.agent.closed.has_value() &&
      now - saved_.agent.closed->monotonic <= options_->powerdown_window) {
    return ShutdownCaveat::kGuestAgentConnected;
  }
  if (saved_.agent.unknown || (saved_.agent.present && !saved_.agent.reported)) {
    return ShutdownCaveat::kGuestAgentPossible;
  }
  return std::nullopt;
}

void VmSession::Describe(ShutdownCaveat caveat, std::vector<EvidenceEntry>* evidence) const {
  if (caveat == ShutdownCaveat::kHostShuttingDown) return;  // the timeline has it
  if (caveat == ShutdownCaveat::kNoPanicDevice) {
    evidence->push_back({saved_.state_time,
                         "QEMU was started without a panic device: the guest may have panicked and "
                         "rebooted for that"});
    return;
  }
  if (caveat == ShutdownCaveat::kPowerdownUnseen) {
    const absl::Duration age = *saved_.evidence.facts.shutdown->unseen_age;
    evidence->push_back(
        {saved_.state_time,
         absl::StrCat("the guest was not followed until ", absl::ToInt64Seconds(age),
                      " s before the SHUTDOWN: a press of the power button may have been missed")});
    return;
  }
  if (caveat == ShutdownCaveat::kPowerdownEarlier) {
    const absl::Duration age = *saved_.evidence.facts.shutdown->powerdown_age;
    const char* const doubt =
        age <= options_->powerdown_window
            ? "and the guest rebooted since: it may have obeyed all the same"
            : "which is longer than --powerdown-window: the guest may have obeyed late";
    evidence->push_back(
        {saved_.state_time, absl::StrCat("the power button was pressed ",
                                         absl::FormatDuration(absl::Trunc(age, absl::Seconds(1))),
                                         " before the SHUTDOWN, ", doubt)});
    return;
  }
  if (caveat == ShutdownCaveat::kGuestAgentPossible) {
    const char* const why =
        saved_.agent.present && !saved_.agent.reported
            ? "the VM has a guest agent's port whose device has no id: QEMU does not "
              "report whether an agent is connected"
            : "vmeventd did not know yet whether a guest agent was connected";
    InsertByTime({saved_.attached_at.wall, why}, evidence);
    return;
  }
  if (saved_.agent.opened.has_value()) {
    InsertByTime({saved_.agent.opened->wall,
                  "guest agent connected: the host can ask it for a shutdown, which leaves no "
                  "trace on the monitor"},
                 evidence);
  }
  if (saved_.agent.closed.has_value()) {
    InsertByTime({saved_.agent.closed->wall, "guest agent disconnected"}, evidence);
  }
}

}  // namespace vmeventd
