#include "watcher/core/vm_session.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

// kLostGrace after a SHUTDOWN, when a QEMU sometimes frees a large memory.
constexpr absl::Duration kLostGraceAfterShutdown = absl::Seconds(5);
// A QEMU that stays for longer after a SHUTDOWN, without a STOP, counts as one that stays.
constexpr absl::Duration kDownGrace = absl::Seconds(5);
// How long what is to be kept may wait in a flood.
constexpr absl::Duration kKeepDelay = absl::Milliseconds(100);
// And how long it may take a daemon that was started again to reach the monitors that it had.
constexpr absl::Duration kAwayGrace = absl::Seconds(10);

// A QEMU that takes longer to exit has a problem, which is told again each time that it is twice as
// old.
constexpr absl::Duration kExitReport = absl::Seconds(10);

// One GAP tells of a flood: once it has paused for kDropQuiet, or has gone on for kDropReport.
constexpr absl::Duration kDropQuiet = absl::Seconds(1);
constexpr absl::Duration kDropReport = absl::Seconds(10);

// Whether a migration has completed is asked again as soon as QEMU has answered: `finish-migrate`
// lasts for the downtime, which is short, and the manager may end QEMU as soon as it is over. A
// migration that hangs there is asked less often.
constexpr int kEagerMigrationPolls = 5000;
constexpr absl::Duration kMigrationPoll = absl::Milliseconds(10);

constexpr char kHeldProblem[] =
    "monitor held by another client: QEMU serves one at a time and sent no greeting";

VmState StateOf(absl::string_view run_state) {
  if (run_state.empty()) return VmState::kUnreachable;
  if (run_state == "running") return VmState::kRunning;
  if (run_state == "suspended") return VmState::kSuspended;
  if (run_state == "shutdown" || run_state == "guest-panicked") return VmState::kGuestDown;
  return VmState::kPaused;
}

absl::string_view StateWord(VmState state) {
  switch (state) {
    case VmState::kRunning:
      return "running";
    case VmState::kPaused:
      return "paused";
    case VmState::kSuspended:
      return "suspended";
    case VmState::kGuestDown:
      return "down with QEMU still there";
    case VmState::kUnreachable:
      return "not reachable";
    case VmState::kStopped:
      return "stopped";
  }
  return "";
}

// What of the timeline ends when the VM runs.
bool EndsWhenRunning(absl::string_view what) {
  constexpr absl::string_view kEnds[] = {"SHUTDOWN",
                                         "STOP",
                                         "WATCHDOG action=pause",
                                         "query-status shutdown",
                                         "query-status postmigrate",
                                         "query-status watchdog",
                                         "shutdown file found"};
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [what](absl::string_view start) { return absl::StartsWith(what, start); });
}

std::string ProblemOf(absl::string_view run_state) {
  if (run_state == "io-error") return "paused by QEMU after an I/O error";
  if (run_state == "internal-error") return "paused by QEMU after an internal error";
  return "";
}

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : run_(std::move(run)),
      options_(options),
      attached_at_(now),
      state_time_(now.wall),
      told_state_time_(now.wall),
      closed_at_(now),
      limiter_(options->node_events) {}

Effects VmSession::OnTrackingLost(Instant now) {
  run_.process_tracked = false;
  run_.pid = 0;
  return Settled(now, {Update(std::nullopt)});
}

Effects VmSession::OnListenerGone(bool answers, Instant now) {
  Saw(absl::StrCat("the process that listened on the monitor's socket is gone, and ",
                   answers ? "QEMU still answers" : "the socket still accepts connections"),
      now);
  return OnTrackingLost(now);
}

Effects VmSession::OnProcessFound(const ProcessInfo& process, Instant now) {
  run_.process_tracked = true;
  run_.pid = process.pid;
  run_.start_ticks = process.start_ticks;
  run_.pidfd_inode = process.pidfd_inode;
  run_.process_start = process.process_start;
  run_.oom_file = process.oom_file;
  run_.oom_kills = process.oom_kills;
  if (!started_) return {};
  return Settled(now, {Update(std::nullopt)});
}

Effects VmSession::OnOomKills(uint64_t kills) {
  run_.oom_kills = kills;
  Effects effects;
  if (started_ && !gone_) KeepNow(&effects);
  return effects;
}

Effects VmSession::OnSharedUuid(absl::string_view problem, Instant now) {
  uuid_problem_ = std::string(problem);
  return Settled(now, {});
}

// The monitor

Effects VmSession::OnSocket(const SocketIdentity& socket) {
  run_.socket = socket;
  Effects effects;
  if (started_ && !gone_) KeepNow(&effects);
  return effects;
}

Effects VmSession::OnMonitorReady(const MonitorInfo& info, Instant now) {
  Effects effects;
  MonitorReady(info, now, &effects);
  Settle(now, &effects);
  if (info.run_state == "finish-migrate") {
    migration_polls_ = 0;
    effects.push_back(QueryRunState{absl::ZeroDuration()});
  }
  effects.push_back(QueryGuestAgent{});
  return effects;
}

void VmSession::MonitorReady(MonitorInfo info, Instant now, Effects* effects) {
  uuid_ = info.uuid;
  qemu_version_ = info.qemu_version;
  qemu_name_ = info.qemu_name;
  monitor_problem_ = info.run_state.empty() ? "QEMU did not tell its run state" : "";
  // A SHUTDOWN of this very connection outranks a `running` that may be older: what takes it back
  // is a RESET or a RESUME.
  if (std::exchange(down_in_handshake_, false) && evidence_.shutdown.has_value()) {
    info.run_state.clear();
    SetState(VmState::kGuestDown, now);
  }
  SawRestart(now);
  away_ = false;
  if (monitor_ == Monitor::kClosed) DeclareLost(now, effects);
  evidence_.monitored = true;
  if (monitor_ == Monitor::kNone) {
    monitor_ = Monitor::kReady;
    ApplyRunState(info.run_state, absl::StrCat("query-status ", info.run_state), now);
    EnsureStarted(now, effects);
    return;
  }
  if (monitor_ == Monitor::kUnseen) ResumeAfterRestart(info, now, effects);
  if (monitor_ == Monitor::kLost) Regain(info, now, effects);
}

void VmSession::Regain(const MonitorInfo& info, Instant now, Effects* effects) {
  monitor_ = Monitor::kReady;
  monitor_problem_.clear();
  ForgetExit();  // a QEMU that answers does not hang
  const VmState before = state_before_loss_;
  ApplyRunState(info.run_state, absl::StrCat("query-status ", info.run_state), now);
  // It was taken for ending and lives: the shutdown file is decided anew at its next end.
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  TakeShutdownFileBack(effects);
  Emit(MakeEvent(EventType::kMonitorRestored,
                 absl::StrCat("the monitor is ours; the VM is ", StateWord(state_)), now),
       now, effects);
  if (before != VmState::kUnreachable && before != state_) {
    TellUnseenChange(before, "its monitor was lost", now, effects);
  }
}

void VmSession::ResumeAfterRestart(const MonitorInfo& info, Instant now, Effects* effects) {
  monitor_ = Monitor::kReady;
  ForgetExit();
  const VmState before = state_;
  ApplyRunState(info.run_state, absl::StrCat("query-status ", info.run_state), now);
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  TakeShutdownFileBack(effects);
  if (before == state_ || before == VmState::kUnreachable || info.run_state.empty()) {
    effects->push_back(Update(std::nullopt));
    return;
  }
  TellUnseenChange(before, "vmeventd stopped", now, effects);
}

void VmSession::TellUnseenChange(VmState before, absl::string_view since, Instant now,
                                 Effects* effects) {
  Emit(MakeEvent(EventType::kGap,
                 absl::StrCat("the VM was ", StateWord(before), " when ", since, " and is ",
                              StateWord(state_), " now: the events between were not seen"),
                 now),
       now, effects);
  EventType type = EventType::kResumed;
  if (state_ == VmState::kPaused) type = EventType::kPaused;
  if (state_ == VmState::kSuspended) type = EventType::kSuspended;
  if (state_ == VmState::kGuestDown) type = EventType::kGuestShutdown;
  VmEvent event = MakeEvent(type, absl::StrCat("the VM is ", StateWord(state_)), now);
  if (type == EventType::kGuestShutdown) event.shutdown = MakeDetail();
  Emit(std::move(event), now, effects);
}

Effects VmSession::OnMonitorHeld(Instant now) {
  Effects effects;
  MonitorHeld(now, &effects);
  Settle(now, &effects);
  return effects;
}

void VmSession::MonitorHeld(Instant now, Effects* effects) {
  monitor_problem_ = kHeldProblem;
  evidence_.monitored = false;
  if (started_) return;
  monitor_ = Monitor::kLost;
  EnsureStarted(now, effects);
}

Effects VmSession::OnMonitorProblem(absl::string_view problem, Instant now) {
  Effects effects;
  MonitorProblem(problem, now, &effects);
  Settle(now, &effects);
  return effects;
}

void VmSession::MonitorProblem(absl::string_view problem, Instant now, Effects* effects) {
  if (monitor_problem_ == problem) return;
  monitor_problem_ = std::string(problem);
  EnsureStarted(now, effects);
}

Effects VmSession::OnRunState(absl::string_view run_state, Instant now) {
  Effects effects;
  RunState(run_state, now, &effects);
  if (run_state != "finish-migrate") Settle(now, &effects);
  return effects;
}

void VmSession::RunState(absl::string_view run_state, Instant now, Effects* effects) {
  if (run_state == "finish-migrate") {
    // The source is stopped and its last pages are on the way; `postmigrate` comes when they have
    // arrived, and QEMU sends no event for it.
    const bool eager = ++migration_polls_ <= kEagerMigrationPolls;
    effects->push_back(QueryRunState{eager ? absl::ZeroDuration() : kMigrationPoll});
    return;
  }
  run_problem_ = ProblemOf(run_state);
  if (run_state == "postmigrate") NoteMigrated(now);
}

Effects VmSession::OnMonitorClosed(absl::string_view why, Instant now) {
  Effects effects;
  if (gone_) return effects;
  if (monitor_ == Monitor::kReady) {
    monitor_ = Monitor::kClosed;
    closed_at_ = now;
    close_reason_ = std::string(why);
  } else if (monitor_ == Monitor::kNone) {
    monitor_ = Monitor::kLost;
    closed_at_ = now;
    MonitorProblem(absl::StrCat("monitor closed before it was ready: ", why), now, &effects);
  }
  // Ganeti reads the file as soon as the process is gone: it must be there before that, wherever
  // in its handshake the connection ended.
  if (IsDecided(evidence_) && file_step_ == FileStep::kUndone) RequestShutdownFile(&effects);
  return Settled(now, std::move(effects));
}

void VmSession::DeclareLost(Instant now, Effects* effects) {
  monitor_ = Monitor::kLost;
  evidence_.monitored = false;  // nobody listens: that no SHUTDOWN comes says nothing
  Saw(absl::StrCat("monitor closed (", close_reason_, ") while the process lives"), closed_at_);
  if (monitor_problem_.empty()) {
    monitor_problem_ = absl::StrCat("monitor lost: ", close_reason_);
  }
  state_before_loss_ = state_;
  if (state_ != VmState::kGuestDown) SetState(VmState::kUnreachable, now);
  Emit(MakeEvent(EventType::kMonitorLost,
                 absl::StrCat("the monitor closed (", close_reason_,
                              ") and QEMU's process lives on: this is no end"),
                 now),
       now, effects);
}

void VmSession::DeclareAway(Instant now, Effects* effects) {
  monitor_ = Monitor::kLost;
  if (monitor_problem_.empty()) {
    monitor_problem_ = "monitor not reached again since vmeventd was started";
  }
  state_before_loss_ = state_;
  if (state_ != VmState::kGuestDown) SetState(VmState::kUnreachable, now);
  Emit(MakeEvent(EventType::kMonitorLost,
                 "vmeventd was started again and does not reach the monitor; QEMU's process lives "
                 "on: this is no end",
                 now),
       now, effects);
}

// Time

Effects VmSession::OnTick(Instant now) {
  Effects effects;
  if (now.monotonic < NextTick()) return effects;
  ExpireIntent(now, &effects);
  if (limiter_.has_dropped() &&
      now.monotonic >= std::min(last_drop_ + kDropQuiet, first_drop_ + kDropReport)) {
    FlushDropped(now, &effects);
  }
  if (now.monotonic >= DownReport()) {
    SetState(VmState::kGuestDown, now);
    VmEvent down =
        MakeEvent(EventType::kGuestShutdown, "the guest is down and QEMU has not ended yet", now);
    down.shutdown = MakeDetail();
    Emit(std::move(down), now, &effects);
  }
  if (monitor_ == Monitor::kClosed && !gone_ && run_.process_tracked) {
    const absl::Duration grace = IsDecided(evidence_) ? kLostGraceAfterShutdown : kLostGrace;
    if (now.monotonic >= closed_at_.monotonic + grace) DeclareLost(now, &effects);
  }
  if (monitor_ == Monitor::kUnseen && run_.process_tracked &&
      now.monotonic >= closed_at_.monotonic + kAwayGrace) {
    DeclareAway(now, &effects);
  }
  if (exiting_since_.has_value() && now.monotonic >= exiting_since_->monotonic + exit_report_) {
    const absl::Duration waited = now.monotonic - exiting_since_->monotonic;
    while (exit_report_ <= waited) exit_report_ *= 2;
    exit_problem_ = absl::StrCat("QEMU has not exited for ", absl::ToInt64Seconds(waited),
                                 " s after its shutdown");
  }
  return Settled(now, std::move(effects));
}

absl::Duration VmSession::NextTick() const {
  absl::Duration next = absl::InfiniteDuration();
  if (monitor_ == Monitor::kClosed && !gone_ && run_.process_tracked) {
    next = closed_at_.monotonic + (IsDecided(evidence_) ? kLostGraceAfterShutdown : kLostGrace);
  }
  if (monitor_ == Monitor::kUnseen && !gone_ && run_.process_tracked) {
    next = closed_at_.monotonic + kAwayGrace;
  }
  if (intent_.has_value()) next = std::min(next, intent_->deadline);
  next = std::min({next, DownReport(), keep_at_});
  if (exiting_since_.has_value()) next = std::min(next, exiting_since_->monotonic + exit_report_);
  if (limiter_.has_dropped()) {
    next = std::min({next, last_drop_ + kDropQuiet, first_drop_ + kDropReport});
  }
  return next;
}

absl::Duration VmSession::DownReport() const {
  if (gone_ || !started_ || !exiting_since_.has_value() || state_ == VmState::kGuestDown ||
      !evidence_.shutdown.has_value()) {
    return absl::InfiniteDuration();
  }
  return exiting_since_->monotonic + kDownGrace;
}

// Shared steps

void VmSession::ApplyRunState(absl::string_view run_state, absl::string_view by, Instant now) {
  run_problem_ = ProblemOf(run_state);
  const VmState state = StateOf(run_state);
  paused_ = state == VmState::kPaused || state == VmState::kGuestDown;
  if (run_state == "running" || run_state == "suspended") {
    // Alive again, whatever stood before. A panicked guest is not healed by being resumed, nor is
    // one whose watchdog has pressed the power button: it runs until it obeys.
    if (evidence_.shutdown.has_value() || evidence_.watchdog_paused || evidence_.migrated ||
        evidence_.down_before_attach || evidence_.shutdown_file_found) {
      ForgetDown(by, now);
    } else {
      std::erase_if(timeline_, [](const EvidenceEntry& entry) { return entry.what == "STOP"; });
    }
    evidence_.shutdown.reset();
    if (std::exchange(evidence_.watchdog_paused, false)) evidence_.watchdog_expired = false;
    evidence_.migrated = false;
    evidence_.down_before_attach = false;
    evidence_.shutdown_file_found = false;
    WeighIntent();
    ForgetExit();
    if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;
  } else if (run_state == "guest-panicked" && !evidence_.guest_panicked) {
    evidence_.guest_panicked = true;
    Saw("query-status guest-panicked", now);
  } else if (run_state == "watchdog") {
    evidence_.watchdog_paused = true;
    if (!std::exchange(evidence_.watchdog_expired, true)) Saw("query-status watchdog", now);
  } else if (run_state == "postmigrate") {
    NoteMigrated(now);
  } else if (run_state == "shutdown" && !IsDecided(evidence_)) {
    evidence_.down_before_attach = true;  // its SHUTDOWN came while nobody here listened
    Saw("query-status shutdown", now);
  }
  if (state != VmState::kUnreachable) SetState(state, now);
}

void VmSession::NoteMigrated(Instant now) {
  if (!std::exchange(evidence_.migrated, true)) Saw("query-status postmigrate", now);
}

void VmSession::BeginExit(Instant now) {
  if (exiting_since_.has_value()) return;
  exiting_since_ = now;
  exit_report_ = kExitReport;
}

void VmSession::ForgetExit() {
  exiting_since_.reset();
  exit_problem_.clear();
}

void VmSession::SetState(VmState state, Instant now) {
  if (state_ == state) return;
  state_ = state;
  state_time_ = now.wall;
}

void VmSession::Saw(std::string what, Instant now) {
  if (what.size() > kMaxEvidenceBytes) {
    // Some of it is QEMU's own text, which a hostile one may make long.
    what.resize(Utf8Prefix(what, kMaxEvidenceBytes).size());
    what += "...";
  }
  if (!timeline_.empty() && timeline_.back().what == what) {
    timeline_.back().time = now.wall;
    return;
  }
  if (timeline_.size() == kMaxTimelineEntries) timeline_.erase(timeline_.begin());
  timeline_.push_back({now.wall, std::move(what)});
}

void VmSession::SawRestart(Instant now) {
  if (!away_) return;
  Saw("vmeventd was started again: what happened while it was away was not seen", now);
}

void VmSession::ForgetAll(absl::string_view by, Instant now) {
  Forget(by, now, [](absl::string_view) { return true; });
}

void VmSession::ForgetDown(absl::string_view by, Instant now) { Forget(by, now, EndsWhenRunning); }

template <typename Predicate>
void VmSession::Forget(absl::string_view by, Instant now, Predicate is_cleared) {
  std::string cleared;
  std::vector<EvidenceEntry> standing;
  for (EvidenceEntry& entry : timeline_) {
    if (is_cleared(entry.what)) {
      absl::StrAppend(&cleared, cleared.empty() ? "" : ", ", entry.what);
    } else {
      standing.push_back(std::move(entry));
    }
  }
  timeline_ = std::move(standing);
  constexpr size_t kMaxClearedText = 200;
  if (cleared.size() > kMaxClearedText) cleared = "earlier evidence";
  Saw(absl::StrCat(by, " (clears: ", cleared, ")"), now);
}

VmEvent VmSession::MakeEvent(EventType type, std::string message, Instant now) const {
  VmEvent event;
  event.type = type;
  event.observe_time = now.wall;
  event.observe_monotonic = now.monotonic;
  event.message = std::move(message);
  return event;
}

void VmSession::EnsureStarted(Instant now, Effects* effects) {
  if (started_) return;
  started_ = true;
  std::string message = "a QEMU process";
  if (!qemu_version_.empty()) message = absl::StrCat("QEMU ", qemu_version_);
  if (run_.pid != 0) absl::StrAppend(&message, ", pid ", run_.pid);
  if (!qemu_name_.empty()) absl::StrAppend(&message, ", named ", qemu_name_);
  absl::StrAppend(&message, ", ", StateWord(state_));
  if (!monitor_problem_.empty()) absl::StrAppend(&message, "; ", monitor_problem_);
  effects->push_back(Update(MakeEvent(EventType::kStarted, message, now)));
  if (!gone_) KeepNow(effects);
}

void VmSession::FlushDropped(Instant now, Effects* effects) {
  if (!limiter_.has_dropped()) return;
  first_drop_ = last_drop_ = absl::InfiniteDuration();
  VmEvent gap = MakeEvent(
      EventType::kGap,
      absl::StrCat(limiter_.TakeDropped(), " events of this VM were left out: it sent more than ",
                   EventLimiter::kBurst, " at once and ", EventLimiter::kPerSecond,
                   " a second, or the node's VMs together more than they may"),
      now);
  effects->push_back(Update(std::move(gap)));
}

bool VmSession::Admit(EventType type, Instant now) {
  if (!options_->event_limits || limiter_.Admit(type, now.monotonic)) return true;
  if (first_drop_ == absl::InfiniteDuration()) first_drop_ = now.monotonic;
  last_drop_ = now.monotonic;
  return false;
}

void VmSession::Emit(VmEvent event, Instant now, Effects* effects) {
  EnsureStarted(now, effects);
  if (Admit(event.type, now)) effects->push_back(Update(std::move(event)));
}

void VmSession::EmitAlways(VmEvent event, Instant now, Effects* effects) {
  EnsureStarted(now, effects);
  effects->push_back(Update(std::move(event)));
}

Publish VmSession::Update(std::optional<VmEvent> event) {
  if (event.has_value()) {
    told_state_ = state_;
    told_state_time_ = state_time_;
    told_problems_ = Problems();
  }
  return Publish{{Status(), std::move(event)}};
}

void VmSession::Settle(Instant now, Effects* effects) {
  if (!started_ || gone_) return;
  // After a drop the GAP tells of both, when the flood is over.
  if (!limiter_.has_dropped() && state_ != told_state_) {
    const bool down = state_ == VmState::kGuestDown;
    VmEvent event = MakeEvent(down ? EventType::kGuestShutdown : EventType::kStateChanged,
                              absl::StrCat("the VM is ", StateWord(state_)), now);
    if (down) event.shutdown = MakeDetail();
    Emit(std::move(event), now, effects);
  }
  if (!limiter_.has_dropped()) {
    const std::vector<std::string> problems = Problems();
    if (problems != told_problems_) {
      Emit(MakeEvent(
               EventType::kProblemsChanged,
               problems.empty() ? "the VM has no problem any more" : absl::StrJoin(problems, "; "),
               now),
           now, effects);
    }
  }
  Keep(now, effects);
  // What the file's step answers comes after what is published here.
  std::stable_partition(effects->begin(), effects->end(), [](const Effect& effect) {
    return !std::holds_alternative<WriteShutdownFile>(effect) &&
           !std::holds_alternative<RemoveShutdownFile>(effect);
  });
}

Effects VmSession::Settled(Instant now, Effects effects) {
  Settle(now, &effects);
  return effects;
}

void VmSession::Keep(Instant now, Effects* effects) {
  const bool has_event = std::any_of(effects->begin(), effects->end(), [](const Effect& effect) {
    const Publish* const publish = std::get_if<Publish>(&effect);
    return publish != nullptr && publish->update.event.has_value();
  });
  // An event is committed together with what it changed; the rest can wait for a moment.
  if (!has_event && !keeps_.Take(now.monotonic)) {
    keep_at_ = std::min(keep_at_, now.monotonic + kKeepDelay);
    return;
  }
  KeepNow(effects);
}

void VmSession::KeepNow(Effects* effects) {
  keep_at_ = absl::InfiniteDuration();
  std::string text = Save();
  const size_t hash = std::hash<std::string>()(text);
  if (hash == kept_) return;
  kept_ = hash;
  const auto last = std::find_if(effects->rbegin(), effects->rend(), [](const Effect& effect) {
    return std::holds_alternative<Publish>(effect);
  });
  if (last == effects->rend()) {
    effects->push_back(Update(std::nullopt));
    std::get<Publish>(effects->back()).update.saved_run = std::move(text);
  } else {
    std::get<Publish>(*last).update.saved_run = std::move(text);
  }
}

std::vector<std::string> VmSession::Problems() const {
  std::vector<std::string> problems;
  for (const std::string* problem :
       {&monitor_problem_, &run_problem_, &file_problem_, &exit_problem_, &uuid_problem_}) {
    if (!problem->empty()) problems.push_back(*problem);
  }
  return problems;
}

VmStatus VmSession::Status() const {
  VmStatus status;
  status.ref = {run_.name, run_.run_id, uuid_, run_.pid};
  status.state = told_state_;
  status.state_time = told_state_time_;
  status.start_time = run_.process_start;
  status.qemu_version = qemu_version_;
  status.monitor_path = run_.monitor_path;
  status.problems = told_problems_;
  if (told_state_ == VmState::kGuestDown || told_state_ == VmState::kStopped) {
    status.shutdown = MakeDetail();
  }
  if (intent_.has_value() && told_state_ != VmState::kStopped) status.intent = intent_->intent;
  return status;
}

}  // namespace vmeventd
