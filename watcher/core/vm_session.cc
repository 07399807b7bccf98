#include "watcher/core/vm_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxDetailBytes = 4096;
constexpr size_t kMaxTimelineEntries = 16;

// One guest reboot gives two or three RESET events within 50 ms (docs/qemu.md).
constexpr absl::Duration kResetWindow = absl::Milliseconds(250);

// How long a monitor may be closed before it counts as lost: a QEMU that ends closes it some time
// before its process is gone, after a SHUTDOWN sometimes long before (freeing a large memory).
constexpr absl::Duration kLostGrace = absl::Seconds(1);
constexpr absl::Duration kLostGraceAfterShutdown = absl::Seconds(5);

// One GAP tells of a flood: once it has paused for kDropQuiet, or has gone on for kDropReport.
constexpr absl::Duration kDropQuiet = absl::Seconds(1);
constexpr absl::Duration kDropReport = absl::Seconds(10);

// Whether a migration has completed is asked again as soon as QEMU has answered: `finish-migrate`
// lasts for the downtime, which is short, and the manager may end QEMU as soon as it is over. A
// migration that hangs there is asked less often.
constexpr int kEagerMigrationPolls = 5000;
constexpr absl::Duration kMigrationPoll = absl::Milliseconds(10);

// A monitor attached this long after its process started may have missed something worth knowing.
constexpr absl::Duration kLateAttach = absl::Seconds(10);

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

std::string ProblemOf(absl::string_view run_state) {
  if (run_state == "io-error") return "paused by QEMU after an I/O error";
  if (run_state == "internal-error") return "paused by QEMU after an internal error";
  return "";
}

std::string TextMember(const QmpObject& data, const char* name) {
  if (!data.is_object()) return "";
  const auto it = data.find(name);
  return it != data.end() && it->is_string() ? it->get<std::string>() : "";
}

std::optional<bool> BoolMember(const QmpObject& data, const char* name) {
  if (!data.is_object()) return std::nullopt;
  const auto it = data.find(name);
  if (it == data.end() || !it->is_boolean()) return std::nullopt;
  return it->get<bool>();
}

std::string Seconds(absl::Duration age) {
  return absl::FormatDuration(absl::Trunc(age, absl::Milliseconds(1)));
}

// Events that are told but are no evidence.
struct PlainEvent {
  absl::string_view name;
  EventType type;
  absl::string_view message;
};

constexpr PlainEvent kPlainEvents[] = {
    {"BLOCK_IO_ERROR", EventType::kIoError, "a disk of the VM met an I/O error"},
    {"BLOCK_JOB_ERROR", EventType::kIoError, "a block job met an I/O error"},
    {"BLOCK_IMAGE_CORRUPTED", EventType::kIoError, "a disk image of the VM is corrupt"},
    {"MEMORY_FAILURE", EventType::kMemoryFailure, "the VM's memory failed"},
    {"MIGRATION", EventType::kMigration, "the migration's status changed"},
};

}  // namespace

VmSession::VmSession(RunInfo run, const SessionOptions* options, Instant now)
    : run_(std::move(run)),
      options_(options),
      attached_at_(now),
      state_time_(now.wall),
      closed_at_(now) {}

// The monitor

Effects VmSession::OnMonitorReady(const MonitorInfo& info, Instant now) {
  Effects effects;
  uuid_ = info.uuid;
  qemu_version_ = info.qemu_version;
  qemu_name_ = info.qemu_name;
  monitor_problem_ = info.run_state.empty() ? "QEMU did not tell its run state" : "";
  evidence_.monitored = true;

  if (monitor_ == Monitor::kNone) {
    monitor_ = Monitor::kReady;
    ApplyRunState(info.run_state, now);
    if (started_) effects.push_back(Update(std::nullopt));  // an event came before the last reply
    EnsureStarted(now, &effects);
    return effects;
  }
  if (monitor_ == Monitor::kClosed) DeclareLost(now, &effects);
  if (monitor_ == Monitor::kUnseen) ResumeAfterRestart(info, now, &effects);
  if (monitor_ == Monitor::kLost) Regain(info, now, &effects);
  return effects;
}

void VmSession::Regain(const MonitorInfo& info, Instant now, Effects* effects) {
  monitor_ = Monitor::kReady;
  monitor_problem_.clear();
  const VmState before = state_before_loss_;
  ApplyRunState(info.run_state, now);
  if (file_step_ == FileStep::kDone) {
    // It was taken for ending and lives: the shutdown file is decided anew at its next end.
    file_step_ = FileStep::kUndone;
    if (file_written_ && !IsDecided(evidence_)) effects->push_back(RemoveShutdownFile{});
    file_written_ = false;
  }
  Emit(MakeEvent(EventType::kMonitorRestored,
                 absl::StrCat("the monitor is ours; the VM is ", StateWord(state_)), now),
       now, effects);
  if (before != VmState::kUnreachable && before != state_) {
    TellUnseenChange(before, "its monitor was lost", now, effects);
  }
}

void VmSession::ResumeAfterRestart(const MonitorInfo& info, Instant now, Effects* effects) {
  monitor_ = Monitor::kReady;
  const VmState before = state_;
  Saw("vmeventd was started again: what happened while it was away was not seen", now);
  ApplyRunState(info.run_state, now);
  if (before == state_ || info.run_state.empty()) {
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
  const bool changed = monitor_problem_ != kHeldProblem;
  monitor_problem_ = kHeldProblem;
  evidence_.monitored = false;
  if (!started_) {
    monitor_ = Monitor::kLost;
    EnsureStarted(now, &effects);
  } else if (changed) {
    effects.push_back(Update(std::nullopt));
  }
  return effects;
}

Effects VmSession::OnMonitorProblem(absl::string_view problem, Instant now) {
  Effects effects;
  if (monitor_problem_ == problem) return effects;
  monitor_problem_ = std::string(problem);
  if (!started_) {
    EnsureStarted(now, &effects);
  } else {
    effects.push_back(Update(std::nullopt));
  }
  return effects;
}

Effects VmSession::OnRunState(absl::string_view run_state, Instant now) {
  Effects effects;
  if (run_state == "finish-migrate") {
    // The source is stopped and its last pages are on the way; `postmigrate` comes when they have
    // arrived, and QEMU sends no event for it.
    const bool eager = ++migration_polls_ <= kEagerMigrationPolls;
    effects.push_back(QueryRunState{eager ? absl::ZeroDuration() : kMigrationPoll});
    return effects;
  }
  const bool knew_migrated = evidence_.migrated;
  const std::string old_problem = run_problem_;
  run_problem_ = ProblemOf(run_state);
  if (run_state == "postmigrate") NoteMigrated(now);
  if (started_ && (run_problem_ != old_problem || evidence_.migrated != knew_migrated)) {
    effects.push_back(Update(std::nullopt));
  }
  return effects;
}

Effects VmSession::OnMonitorClosed(absl::string_view why, Instant now) {
  Effects effects;
  if (monitor_ != Monitor::kReady && monitor_ != Monitor::kNone) return effects;
  if (monitor_ == Monitor::kNone) {
    monitor_ = Monitor::kLost;
    return OnMonitorProblem(absl::StrCat("monitor closed before it was ready: ", why), now);
  }
  monitor_ = Monitor::kClosed;
  closed_at_ = now;
  close_reason_ = std::string(why);
  // Ganeti reads the file as soon as the process is gone: it must be there before that.
  if (IsDecided(evidence_) && file_step_ == FileStep::kUndone) RequestShutdownFile(&effects);
  return effects;
}

void VmSession::DeclareLost(Instant now, Effects* effects) {
  monitor_ = Monitor::kLost;
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

// QMP events

Effects VmSession::OnQmpEvent(const QmpEvent& event, Instant now) {
  using Handler = Effects (VmSession::*)(const QmpEvent&, Instant);
  struct Entry {
    absl::string_view name;
    Handler handler;
  };
  static constexpr Entry kHandlers[] = {
      {"SHUTDOWN", &VmSession::OnShutdown},
      {"POWERDOWN", &VmSession::OnPowerdown},
      {"RESET", &VmSession::OnReset},
      {"STOP", &VmSession::OnStop},
      {"RESUME", &VmSession::OnResume},
      {"GUEST_PANICKED", &VmSession::OnPanic},
      {"GUEST_CRASHLOADED", &VmSession::OnPanic},
      {"WATCHDOG", &VmSession::OnWatchdog},
      {"SUSPEND_DISK", &VmSession::OnSuspendDisk},
  };
  evidence_.monitored = true;
  for (const Entry& entry : kHandlers) {
    if (entry.name == event.name) return (this->*entry.handler)(event, now);
  }
  return OnOther(event, now);
}

Effects VmSession::Handle(EventType type, absl::string_view message, bool limited,
                          const QmpEvent& event, Instant now) {
  Effects effects;
  if (limited && !limiter_.Admit(now.monotonic)) {
    if (first_drop_ == absl::InfiniteDuration()) first_drop_ = now.monotonic;
    last_drop_ = now.monotonic;
    return effects;
  }
  VmEvent out = MakeEvent(type, std::string(message), now);
  out.qemu_time = event.time;
  out.qmp_event = event.name;
  out.detail_json = DetailJson(event, kMaxDetailBytes);
  if (type == EventType::kGuestShutdown) out.shutdown = MakeDetail();
  Emit(std::move(out), now, &effects);
  return effects;
}

Effects VmSession::OnShutdown(const QmpEvent& event, Instant now) {
  Effects effects;
  if (evidence_.shutdown.has_value()) return effects;  // the first cause wins
  const std::string reason = TextMember(event.data, "reason");
  ShutdownFact fact;
  fact.reason = ParseShutdownReason(reason);
  fact.guest = BoolMember(event.data, "guest");
  // A reason that is newer than this program still says by its name where it came from.
  if (!fact.guest.has_value() && absl::StartsWith(reason, "host-")) fact.guest = false;
  if (!fact.guest.has_value() && absl::StartsWith(reason, "guest-")) fact.guest = true;
  fact.while_paused = paused_;
  if (powerdown_at_.has_value()) fact.powerdown_age = now.monotonic - powerdown_at_->monotonic;
  evidence_.shutdown = fact;
  shutdown_qemu_time_ = event.time;
  shutdown_json_ = DetailJson(event, kMaxDetailBytes);

  std::string what = "SHUTDOWN";
  if (!reason.empty()) {
    absl::StrAppend(&what, " reason=", reason);
  } else if (fact.guest.has_value()) {
    absl::StrAppend(&what, " guest=", *fact.guest ? "true" : "false");
  }
  Saw(std::move(what), now);
  SetState(VmState::kGuestDown, now);
  if (started_) effects.push_back(Update(std::nullopt));
  return effects;
}

Effects VmSession::OnPowerdown(const QmpEvent& event, Instant now) {
  powerdown_at_ = now;
  Saw("POWERDOWN", now);
  return Handle(EventType::kPowerdownRequested, "the host pressed the power button", false, event,
                now);
}

Effects VmSession::OnReset(const QmpEvent& event, Instant now) {
  if (powerdown_at_.has_value() || IsDecided(evidence_) || evidence_.hibernating) {
    Forget("RESET", now);
  }
  powerdown_at_.reset();
  evidence_ = Evidence();
  evidence_.monitored = true;
  if (state_ != VmState::kRunning) SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);

  const bool repeated = now.monotonic - last_reset_ < kResetWindow;
  last_reset_ = now.monotonic;
  if (repeated) return started_ ? Effects{Update(std::nullopt)} : Effects{};
  return Handle(EventType::kReset, "the VM was reset", false, event, now);
}

Effects VmSession::OnStop(const QmpEvent& event, Instant now) {
  paused_ = true;
  migration_polls_ = 0;
  Effects effects;
  if (evidence_.shutdown.has_value()) {
    effects = Handle(EventType::kGuestShutdown, "the guest is down and QEMU stays (-no-shutdown)",
                     false, event, now);
  } else {
    Saw("STOP", now);
    SetState(evidence_.guest_panicked ? VmState::kGuestDown : VmState::kPaused, now);
    // Before STARTED the state is all there is to tell: query-status will say it.
    if (started_) effects = Handle(EventType::kPaused, "the VM was paused", false, event, now);
  }
  effects.push_back(QueryRunState{absl::ZeroDuration()});
  return effects;
}

Effects VmSession::OnResume(const QmpEvent& event, Instant now) {
  const bool was_running = state_ == VmState::kRunning;
  ApplyRunState("running", now);
  if (!started_ || was_running) return {};
  return Handle(EventType::kResumed, "the VM runs again", false, event, now);
}

Effects VmSession::OnPanic(const QmpEvent& event, Instant now) {
  const bool repeated = evidence_.guest_panicked;
  const std::string action = TextMember(event.data, "action");
  evidence_.guest_panicked = true;
  Saw(absl::StrCat(event.name, action.empty() ? "" : " action=", action), now);
  if (action == "pause" || action == "poweroff") SetState(VmState::kGuestDown, now);
  return Handle(EventType::kGuestPanicked, "the guest's kernel panicked", repeated, event, now);
}

Effects VmSession::OnWatchdog(const QmpEvent& event, Instant now) {
  const std::string action = TextMember(event.data, "action");
  // The other actions (debug, none, inject-nmi) leave the guest as it is.
  const bool ends_guest =
      action == "reset" || action == "shutdown" || action == "poweroff" || action == "pause";
  const bool limited = !ends_guest || evidence_.watchdog_expired;
  if (ends_guest) {
    evidence_.watchdog_expired = true;
    Saw(absl::StrCat("WATCHDOG action=", action), now);
  }
  return Handle(EventType::kWatchdogExpired, "the guest did not feed its watchdog", limited, event,
                now);
}

Effects VmSession::OnSuspendDisk(const QmpEvent& event, Instant now) {
  const bool repeated = evidence_.hibernating;
  evidence_.hibernating = true;
  Saw("SUSPEND_DISK", now);
  return Handle(EventType::kHibernating, "the guest hibernates", repeated, event, now);
}

Effects VmSession::OnOther(const QmpEvent& event, Instant now) {
  if (event.name == "SUSPEND") {
    SetState(VmState::kSuspended, now);
    return Handle(EventType::kSuspended, "the guest sleeps", true, event, now);
  }
  if (event.name == "WAKEUP") {
    SetState(paused_ ? VmState::kPaused : VmState::kRunning, now);
    return Handle(EventType::kWoken, "the guest woke up", true, event, now);
  }
  for (const PlainEvent& plain : kPlainEvents) {
    if (plain.name != event.name) continue;
    Effects effects = Handle(plain.type, plain.message, true, event, now);
    // `completed` is said on both sides; only the source is then in `postmigrate`.
    if (plain.type == EventType::kMigration && TextMember(event.data, "status") == "completed") {
      effects.push_back(QueryRunState{absl::ZeroDuration()});
    }
    return effects;
  }
  return {};
}

// The end

Effects VmSession::OnProcessGone(Instant now) {
  Effects effects;
  if (gone_) return effects;
  gone_ = true;
  EnsureStarted(now, &effects);
  if (!run_.process_tracked) {
    Saw("monitor closed; the process is not tracked, so this is taken as its end", now);
  } else {
    if (monitor_ == Monitor::kClosed) Saw("monitor closed", closed_at_);
    Saw("process gone", now);
  }
  if (file_step_ == FileStep::kUndone && RequestShutdownFile(&effects)) return effects;
  if (file_step_ != FileStep::kRequested) Finish(now, &effects);
  return effects;
}

Effects VmSession::OnShutdownFileDone(const absl::Status& status, Instant now) {
  Effects effects;
  if (file_step_ != FileStep::kRequested) {
    // A file that was taken back because the VM lives.
    file_problem_ = status.ok() ? "" : std::string(status.message());
    return effects;
  }
  file_step_ = FileStep::kDone;
  const bool user =
      Classify(evidence_, options_->powerdown_window).shutdown_class == ShutdownClass::kUser;
  file_written_ = user && status.ok();
  file_problem_ = status.ok() ? "" : std::string(status.message());
  if (gone_) Finish(now, &effects);
  return effects;
}

bool VmSession::RequestShutdownFile(Effects* effects) {
  if (!options_->shutdown_files) return false;
  const Verdict verdict = Classify(evidence_, options_->powerdown_window);
  if (verdict.shutdown_class == ShutdownClass::kUnknown) return false;
  file_step_ = FileStep::kRequested;
  if (verdict.shutdown_class == ShutdownClass::kUser) {
    effects->push_back(WriteShutdownFile{});
  } else {
    effects->push_back(RemoveShutdownFile{});
  }
  return true;
}

void VmSession::Finish(Instant now, Effects* effects) {
  FlushDropped(now, effects);
  SetState(VmState::kStopped, now);
  monitor_problem_.clear();
  run_problem_.clear();
  ShutdownDetail detail = MakeDetail();
  std::vector<std::string> seen;
  for (const EvidenceEntry& entry : detail.evidence) seen.push_back(entry.what);
  VmEvent event = MakeEvent(
      EventType::kStopped,
      absl::StrCat(ShutdownClassName(detail.shutdown_class), ": ", CauseSentence(detail.cause),
                   ". Seen: ", absl::StrJoin(seen, ", "), "."),
      now);
  if (evidence_.shutdown.has_value()) {
    event.qmp_event = "SHUTDOWN";
    event.qemu_time = shutdown_qemu_time_;
    event.detail_json = shutdown_json_;
  }
  event.shutdown = std::move(detail);
  Emit(std::move(event), now, effects);
  effects->push_back(Done{});
}

ShutdownDetail VmSession::MakeDetail() const {
  const Verdict verdict = Classify(evidence_, options_->powerdown_window);
  ShutdownDetail detail;
  detail.shutdown_class = verdict.shutdown_class;
  detail.cause = verdict.cause;
  detail.rule = std::string(verdict.rule);
  if (evidence_.shutdown.has_value()) detail.powerdown_age = evidence_.shutdown->powerdown_age;
  const absl::Duration late = attached_at_.wall - run_.process_start;
  if (late >= kLateAttach && late < absl::InfiniteDuration()) {
    detail.evidence.push_back(
        {attached_at_.wall,
         absl::StrCat("monitor attached ", Seconds(absl::Trunc(late, absl::Seconds(1))),
                      " after QEMU started, what came before was not seen")});
  }
  detail.evidence.insert(detail.evidence.end(), timeline_.begin(), timeline_.end());
  detail.shutdown_file_written = file_written_;
  return detail;
}

// Time

Effects VmSession::OnTick(Instant now) {
  Effects effects;
  if (now.monotonic < NextTick()) return effects;
  if (limiter_.has_dropped()) FlushDropped(now, &effects);
  if (monitor_ == Monitor::kClosed && !gone_ && run_.process_tracked) {
    const absl::Duration grace = IsDecided(evidence_) ? kLostGraceAfterShutdown : kLostGrace;
    if (now.monotonic >= closed_at_.monotonic + grace) DeclareLost(now, &effects);
  }
  return effects;
}

absl::Duration VmSession::NextTick() const {
  absl::Duration next = absl::InfiniteDuration();
  if (monitor_ == Monitor::kClosed && !gone_ && run_.process_tracked) {
    next = closed_at_.monotonic + (IsDecided(evidence_) ? kLostGraceAfterShutdown : kLostGrace);
  }
  if (limiter_.has_dropped()) {
    next = std::min({next, last_drop_ + kDropQuiet, first_drop_ + kDropReport});
  }
  return next;
}

// Shared steps

void VmSession::ApplyRunState(absl::string_view run_state, Instant now) {
  run_problem_ = ProblemOf(run_state);
  const VmState state = StateOf(run_state);
  paused_ = state == VmState::kPaused || state == VmState::kGuestDown;
  if (run_state == "running" || run_state == "suspended") {
    // Alive again, whatever stood before; a panicked guest is not healed by being resumed.
    if (evidence_.shutdown.has_value() || evidence_.watchdog_expired || evidence_.migrated ||
        evidence_.down_before_attach) {
      Forget("RESUME", now);
    } else {
      std::erase_if(timeline_, [](const EvidenceEntry& entry) { return entry.what == "STOP"; });
    }
    evidence_.shutdown.reset();
    evidence_.watchdog_expired = false;
    evidence_.migrated = false;
    evidence_.down_before_attach = false;
  } else if (run_state == "guest-panicked" && !evidence_.guest_panicked) {
    evidence_.guest_panicked = true;
    Saw("query-status guest-panicked", now);
  } else if (run_state == "watchdog" && !evidence_.watchdog_expired) {
    evidence_.watchdog_expired = true;
    Saw("query-status watchdog", now);
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

void VmSession::SetState(VmState state, Instant now) {
  if (state_ == state) return;
  state_ = state;
  state_time_ = now.wall;
}

void VmSession::Saw(std::string what, Instant now) {
  if (!timeline_.empty() && timeline_.back().what == what) {
    timeline_.back().time = now.wall;
    return;
  }
  if (timeline_.size() == kMaxTimelineEntries) timeline_.erase(timeline_.begin());
  timeline_.push_back({now.wall, std::move(what)});
}

void VmSession::Forget(absl::string_view by, Instant now) {
  std::string cleared;
  for (const EvidenceEntry& entry : timeline_) {
    absl::StrAppend(&cleared, cleared.empty() ? "" : ", ", entry.what);
  }
  timeline_.clear();
  constexpr size_t kMaxClearedText = 200;
  if (cleared.size() > kMaxClearedText) cleared = "earlier evidence";
  Saw(absl::StrCat(by, " (clears: ", cleared, ")"), now);
}

VmEvent VmSession::MakeEvent(EventType type, std::string message, Instant now) const {
  VmEvent event;
  event.type = type;
  event.observe_time = now.wall;
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
}

void VmSession::FlushDropped(Instant now, Effects* effects) {
  if (!limiter_.has_dropped()) return;
  first_drop_ = last_drop_ = absl::InfiniteDuration();
  VmEvent gap = MakeEvent(
      EventType::kGap,
      absl::StrCat(limiter_.TakeDropped(), " events of this VM were left out: it sent more than ",
                   EventLimiter::kBurst, " at once and ", EventLimiter::kPerSecond, " a second"),
      now);
  effects->push_back(Update(std::move(gap)));
}

void VmSession::Emit(VmEvent event, Instant now, Effects* effects) {
  EnsureStarted(now, effects);
  effects->push_back(Update(std::move(event)));
}

Publish VmSession::Update(std::optional<VmEvent> event) const {
  return Publish{{Status(), std::move(event)}};
}

VmStatus VmSession::Status() const {
  VmStatus status;
  status.ref = {run_.name, run_.run_id, uuid_, run_.pid};
  status.state = state_;
  status.state_time = state_time_;
  status.start_time = run_.process_start;
  status.qemu_version = qemu_version_;
  status.monitor_path = run_.monitor_path;
  for (const std::string* problem : {&monitor_problem_, &run_problem_, &file_problem_}) {
    if (!problem->empty()) status.problems.push_back(*problem);
  }
  if (state_ == VmState::kGuestDown || state_ == VmState::kStopped) status.shutdown = MakeDetail();
  return status;
}

}  // namespace vmeventd
