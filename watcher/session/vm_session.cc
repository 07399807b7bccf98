#include "watcher/session/vm_session.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/overloaded.h"
#include "base/signal_name.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/label_rule.h"
#include "watcher/session/end_words.h"

// Inputs and time.

namespace vmeventd {
namespace {

// Returns whether the input shows that the VM existed until now. The end of a connection counts:
// until then, the VM's end would have been seen.
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

RunState NewRunState(RunInfo run, Instant now) {
  RunState state;
  state.run = std::move(run);
  state.attached_at = now;
  state.vm.state_time = state.vm.published_state_time = now.wall;
  return state;
}

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : VmSession(NewRunState(std::move(run), now), MonitorLink(now), options, now) {}

VmSession::VmSession(RunState saved, MonitorLink link, const SessionOptions* options, Instant now)
    : options_(options),
      saved_(std::move(saved)),
      alive_at_(now.wall),
      link_(std::move(link)),
      poll_(options->hang_check, !saved_.run.has_manager) {}

Effects VmSession::On(const Input& input, Instant now) {
  // What waits in the connection is older than `now`: nothing else is concluded before it.
  if (const auto* const taken_over = std::get_if<input::TakenOver>(&input); taken_over != nullptr) {
    if (!gone()) Handle(*taken_over, now);
    return {};
  }
  const auto* const event = std::get_if<input::Event>(&input);
  const EventHandler handler = event == nullptr ? nullptr : HandlerOf(event->event.name);
  if (!Precede(input, handler, now)) return {};
  Dispatch(input, handler, now);
  PublishChanges(now);
  return std::exchange(effects_, {});
}

bool VmSession::Precede(const Input& input, EventHandler handler, Instant now) {
  // 1. After the end of its process a run waits only for its shutdown file and QEMU's last words.
  const bool of_end = std::holds_alternative<input::FileDone>(input) ||
                      std::holds_alternative<input::WordsRead>(input);
  if (gone() && !of_end) return false;
  // 2. A tick counts only once it is due.
  if (std::holds_alternative<input::Tick>(input) && now.monotonic < NextTick()) return false;
  // 3. Any event shows that QEMU's events are read.
  EvidenceLog& evidence = saved_.evidence;
  const auto* const event = std::get_if<input::Event>(&input);
  evidence.facts.monitored |= event != nullptr;
  // 4. A press of the power button by a watchdog was ignored if QEMU lived on until the input.
  const Instant sent_at = event == nullptr ? now : SentAt(event->event, now);
  const bool ignored_watchdog =
      !gone() && sent_at.monotonic >= evidence.WatchdogEnd(options_->powerdown_window);
  if (ignored_watchdog) evidence.SawWatchdogIgnored(now);
  // 5. An intent that has expired does not count for what follows.
  const bool expired = !gone() && now.monotonic >= saved_.intents.Deadline();
  if (expired) CloseIntent(IntentEnd::kExpired, now);
  // 6. An event that is not followed changes nothing else. The changes of 4 and 5 are published.
  const bool is_followed = event == nullptr || handler != nullptr;
  if (!is_followed && !expired && !ignored_watchdog) return false;
  // 7. The VM was alive when QEMU sent an event, and while something answered or was connected.
  if (event != nullptr) {
    Listen(now);
    alive_at_ = std::max(alive_at_, std::min(sent_at.wall, now.wall));
  } else if (IsSignOfLife(input) && !link_.IsCatchingUp(now.monotonic)) {
    alive_at_ = now.wall;
  }
  return true;
}

void VmSession::Dispatch(const Input& input, EventHandler handler, Instant now) {
  EvidenceLog& evidence = saved_.evidence;
  const Overloaded handle{
      [&](const input::Socket& in) {
        saved_.run.socket = in.identity;
        link_.MarkMaybeAlive();
      },
      [&](const input::OwnName& in) {
        saved_.run.raw_name = std::string(in.name);
        saved_.run.name = EscapeName(in.name);
      },
      [&](const input::ShutdownMissed&) { evidence.facts.monitored = false; },
      [&](const input::ArgumentsRead& in) {
        evidence.facts.stays_down |= in.stays_down;
        evidence.facts.guest_can_exit |= in.guest_can_exit;
      },
      [&](const input::MonitorProblem& in) {
        if (in.problem.code == ProblemCode::kOutOfDescriptors) link_.MarkMaybeAlive();
        SetMonitorProblem(in.problem, now);
      },
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
        saved_.exit.Begin(now);
      },
      [&](const input::NamedOomVictim& in) { evidence.SawOomVictim(in.victim, now); },
      [&](const input::NewLabels& in) {
        saved_.labels = WithRules(options_->label_rules, saved_.run.name, in.labels);
      },
      [&](const input::NextId& in) { saved_.run.domain_id = in.domain_id; },
      [&](const input::ReportedPause& in) { saved_.vm.SetPauseReason(in.run_state); },
      [&](const input::ReportedEnd& in) {
        evidence.facts.manager_end = in.end;
        evidence.Saw(std::string(in.what), now);
      },
      [&](const input::HostShutdown& in) {
        evidence.SawHostShutdown(in.shutting_down, in.by, now);
      },
      [&](const input::SharedUuid& in) {
        saved_.problems.Set(Subject::kUuid, {ProblemCode::kSharedUuid, std::string(in.problem)});
      },
      [&](const input::SharedPath& in) {
        saved_.problems.Set(Subject::kPath, {ProblemCode::kSharedPath, std::string(in.problem)});
      },
      [&](const input::DirectoryHangs& in) {
        constexpr char kHangs[] = "the directory of its monitor's socket does not answer";
        saved_.problems.Set(Subject::kDirectory,
                            in.hangs ? Problem{ProblemCode::kDirectoryHangs, kHangs} : Problem());
      },
      [&](const input::IntentWithdrawn&) {
        if (saved_.intents.open.has_value()) CloseIntent(IntentEnd::kWithdrawn, now);
      },
      [&](const input::DaemonStops&) {
        if (!started_) return;
        FlushDropped(now);
        SaveNow();
      },
      [&](const auto& other) { Handle(other, now); }};
  std::visit(handle, input);
}

// Time

void VmSession::Handle(const input::Tick& /*input*/, Instant now) {
  if (poll_.TakeQuestion(saved_.exit.expected(), now.monotonic)) {
    effects_.push_back(AskQemu{Question::kRunState});
  }
  if (now.monotonic >= limiter_.ReportAt()) FlushDropped(now);
  if (now.monotonic >= DownReport()) {
    saved_.vm.Set(VmState::kGuestDown, now.wall);
    Emit(EventType::kGuestShutdown, "the guest is down and QEMU has not ended yet", now);
  }
  if (now.monotonic >= LossReport()) DeclareLost(now);
  if (saved_.exit.IsLate(now.monotonic) || poll_.IsLate(now.monotonic)) {
    effects_.push_back(ExamineThreads{});
  }
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
  if (poll_.TakeLateness(now.monotonic)) {
    saved_.problems.Set(Subject::kSilence, {silent, absl::StrCat("QEMU does not answer", why)});
    saved_.vm.Set(VmState::kUnreachable, now.wall);
  }
  if (!saved_.exit.IsLate(now.monotonic)) return;
  const int64_t seconds = absl::ToInt64Seconds(saved_.exit.TakeReport(now.monotonic));
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
  saved_.problems.Set(Subject::kExit, {late_exit, late + why});
}

absl::Duration VmSession::NextTick() const {
  if (gone()) return absl::InfiniteDuration();
  return std::min({LossReport(), DownReport(), saves_.DueAt(), poll_.NextAt(), limiter_.ReportAt(),
                   saved_.evidence.WatchdogEnd(options_->powerdown_window),
                   saved_.intents.Deadline(), saved_.exit.ReportAt()});
}

absl::Duration VmSession::LossReport() const {
  const bool unseen = link_.state() == MonitorLink::State::kUnseen && OutlivesMonitor();
  return unseen || CanLoseMonitor() ? link_.LostAt(saved_.evidence.decided())
                                    : absl::InfiniteDuration();
}

absl::Duration VmSession::DownReport() const {
  if (gone() || !saved_.evidence.facts.shutdown.has_value() ||
      (started_ && saved_.vm.state == VmState::kGuestDown)) {
    return absl::InfiniteDuration();
  }
  return saved_.exit.DownAt();
}

void VmSession::ForgetExit() {
  saved_.exit.Forget();
  saved_.problems.Set(Subject::kExit, {});
}

void VmSession::SawRestart(Instant now) {
  if (!restored_unattached()) return;
  saved_.evidence.Saw("vmeventd restarted: events while it was down were not seen", now,
                      EvidenceId::kNoSignOfLife);
}

}  // namespace vmeventd
