// Publishes and saves the events of a run, the last of which is its end: the shutdown file, the
// verdict, STOPPED.

#include <algorithm>
#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// "bash (pid 7, uid 0) sent QEMU SIGTERM".
std::string SenderSentence(const SignalSender& sender) {
  SignalSender shown = sender;
  if (shown.cgroup == "/") shown.cgroup.clear();
  if (sender.first_process == 0) {
    return absl::StrCat(DescribeSender(shown), " sent QEMU ", SignalName(sender.signal));
  }
  if (sender.first_signal == 0) {
    return "the kernel killed QEMU, because the first process of its container ended";
  }
  shown.first_process = 0;
  return absl::StrCat(DescribeSender(shown), " sent the first process of QEMU's container ",
                      SignalName(sender.first_signal), ", with which the kernel killed QEMU");
}

std::string CrashSentence(const v1::ShutdownDetail& detail, const SignalSender* sender) {
  const int signal = detail.exit_signal().number();
  if (signal == 0) {
    return absl::StrCat("QEMU exited with code ", detail.exit_code(), ": an error of its own");
  }
  // QEMU aborts where it finds a fault of its own.
  if (signal == SIGABRT && (sender == nullptr || sender->of_qemu)) {
    return absl::StrCat("QEMU was killed by ", SignalName(signal), ": a crash of QEMU itself");
  }
  if (sender == nullptr) {
    return absl::StrCat("QEMU was killed by ", SignalName(signal),
                        ", whose sender is not recorded: it counts as a crash of QEMU");
  }
  return absl::StrCat(SenderSentence(*sender), ", which counts as a crash of QEMU");
}

// The sentence of STOPPED: how it ended, by the facts of the detail. `sender` of the signal that
// ended it; null: none, or not known.
std::string EndSentence(const v1::ShutdownDetail& detail, const SignalSender* sender) {
  const int signal = sender != nullptr ? sender->signal : detail.exit_signal().number();
  const auto cause = static_cast<ShutdownCause>(detail.cause());
  switch (cause) {
    case ShutdownCause::kHostSignal:
    case ShutdownCause::kHostKill:
    case ShutdownCause::kQemuKilled:
      if (sender != nullptr) return SenderSentence(*sender);
      return signal != 0 ? absl::StrCat("QEMU was ended by ", SignalName(signal),
                                        "; its sender is not recorded")
                         : "the host sent QEMU a signal to end; which one and its sender are not "
                           "recorded";
    case ShutdownCause::kQemuCrashed:
      return CrashSentence(detail, sender);
    case ShutdownCause::kUnobserved:
      // An intent shows who ended it, whoever sent the signal.
      if (detail.has_intent() && detail.shutdown_class() == ShutdownClass::kAdmin) {
        return signal != 0 ? absl::StrCat("QEMU was ended by ", SignalName(signal), ", as intended")
                           : "it ended as intended; how was not seen";
      }
      if (detail.rule() == kKilledUnseenRule) {
        return absl::StrCat("QEMU was ended by ", SignalName(signal),
                            sender == nullptr ? "; its sender is not recorded" : "");
      }
      break;
    case ShutdownCause::kHostPowerdown:
      if (!detail.has_powerdown_age()) break;
      return absl::StrCat("the host pressed the power button, and the guest obeyed after ",
                          detail.powerdown_age().seconds(), " s");
    default:
      break;
  }
  return std::string(CauseSentence(cause));
}

// Time that a changed run may wait to be saved in a flood.
constexpr absl::Duration kSaveDelay = absl::Milliseconds(100);

bool IsPublish(const Effect& effect) { return std::holds_alternative<Publish>(effect); }

bool HasEvent(const Effect& effect) {
  return IsPublish(effect) && std::get<Publish>(effect).update.event.has_value();
}

// Appends an update to be filled in, which would be large to move.
VmUpdate& AddUpdate(Effects* effects) {
  if (effects->empty()) effects->reserve(2);  // few steps have more effects
  return std::get<Publish>(effects->emplace_back(Publish{})).update;
}

bool IsEvidenceOrState(EventType type) {
  using enum EventType;
  constexpr EventType kOthers[] = {kStarted,   kStopped,        kIoError,         kMemoryFailure,
                                   kMigration, kIntentDeclared, kIntentWithdrawn, kGap};
  return !absl::c_linear_search(kOthers, type);
}

}  // namespace

bool EventLimiter::Admit(EventType type, absl::Duration now) {
  if (!bucket_.Has(now) && !(IsEvidenceOrState(type) && evidence_.Take(now))) {
    ++dropped_;
    return false;
  }
  bucket_.Spend(now);
  return true;
}

absl::string_view VmSession::StateText(VmState state) {
  constexpr absl::string_view kTexts[] = {
      "",       "running", "paused", "suspended", "down, but QEMU still runs", "not reachable",
      "stopped"};
  return kTexts[static_cast<int>(state)];
}

void VmSession::EnsureStarted(Instant now) {
  if (started_) return;
  started_ = true;
  saved_.labels = WithRules(options_->label_rules, saved_.run.name, saved_.labels);
  std::string message = "a QEMU process";
  if (!saved_.qemu_version.empty()) message = absl::StrCat("QEMU ", saved_.qemu_version);
  if (saved_.run.pid != 0) absl::StrAppend(&message, ", pid ", saved_.run.pid);
  if (!qemu_name_.empty()) absl::StrAppend(&message, ", named ", qemu_name_);
  qemu_name_.clear();
  absl::StrAppend(&message, ", ", StateText(saved_.state));
  const Problem problem = ProblemOf(Subject::kMonitor);
  if (!problem.empty()) absl::StrAppend(&message, "; ", problem.text);
  PublishEvent(MakeEvent(EventType::kStarted, message), now);
  if (!gone_) SaveNow();
}

void VmSession::FlushDropped(Instant now) {
  if (!drops_.has_value()) return;
  const uint64_t dropped = drops_->count;
  drops_.reset();
  PublishEvent(MakeGap(GapReason::kRateLimited,
                       absl::StrCat(dropped, " events of this VM were dropped: it sent more than ",
                                    EventLimiter::kBurst, " at once and ", EventLimiter::kPerSecond,
                                    " a second"),
                       now.wall),
               now);
}

bool VmSession::Admit(EventType type, Instant now) {
  if (!options_->event_limits) return true;
  if (limiter_.Admit(type, now.monotonic)) return true;
  if (!drops_.has_value()) drops_ = Drops{.first = now.monotonic};
  ++drops_->count;
  drops_->last = now.monotonic;
  return false;
}

void VmSession::Emit(v1::Event event, Instant now) {
  EnsureStarted(now);
  if (Admit(static_cast<EventType>(event.type()), now)) PublishEvent(std::move(event), now);
}

void VmSession::EmitAlways(v1::Event event, Instant now) {
  EnsureStarted(now);
  PublishEvent(std::move(event), now);
}

VmState VmSession::ShownState() const {
  const bool is_up = saved_.state != VmState::kGuestDown && saved_.state != VmState::kStopped;
  return is_up && !ProblemOf(Subject::kDirectory).empty() ? VmState::kUnreachable : saved_.state;
}

void VmSession::PublishStatus() { AddUpdate(&effects_).status.emplace(Status()); }

void VmSession::PublishEvent(v1::Event event, Instant now) {
  const VmState state = ShownState();
  if (state == saved_.state) {
    saved_.published_state_time = saved_.state_time;
  } else if (state != saved_.published_state) {
    saved_.published_state_time = now.wall;
  }
  saved_.published_state = state;
  published_problems_ = Problems();
  pause_reason_changed_ = false;
  VmUpdate& update = AddUpdate(&effects_);
  const v1::ShutdownDetail& detail = update.status.emplace(Status()).shutdown();
  *event.mutable_observe_time() = ToTimestamp(now.wall);
  if (event.type() == EventType::kStopped) {
    event.set_message(EndSentence(detail, saved_.evidence.SenderOfEnd()));
  }
  if (event.type() == EventType::kStopped || event.type() == EventType::kGuestShutdown) {
    *event.mutable_shutdown() = detail;
  }
  update.event = std::move(event);
  update.observed = now.monotonic;
}

void VmSession::PublishChanges(Instant now) {
  if (!started_ || gone_) return;
  // After a drop the GAP reports both, when the flood is over.
  if (const VmState state = ShownState(); !drops_.has_value() && state != saved_.published_state) {
    const bool down = state == VmState::kGuestDown;
    Emit(down ? EventType::kGuestShutdown : EventType::kStateChanged,
         absl::StrCat("the VM is ", StateText(state)), now);
  }
  if (!drops_.has_value()) {
    const std::vector<Problem> problems = Problems();
    if (problems != published_problems_) {
      const auto text = [](std::string* out, const Problem& problem) { *out += problem.text; };
      Emit(EventType::kProblemsChanged,
           problems.empty() ? "the VM has no problems any more"
                            : absl::StrJoin(problems, "; ", text),
           now);
    }
  }
  if (std::exchange(pause_reason_changed_, false)) PublishPauseReason(now);
  SaveSoon(now);
  // Consequences of the other effects come after what is published here.
  if (!std::is_partitioned(effects_.begin(), effects_.end(), IsPublish)) {
    std::stable_partition(effects_.begin(), effects_.end(), IsPublish);
  }
}

void VmSession::PublishPauseReason(Instant now) {
  if (saved_.published_state != VmState::kPaused) return;
  // What a `stop` and a migration lead to needs no event besides their own.
  constexpr absl::string_view kUsual[] = {"paused", "finish-migrate", "postmigrate"};
  const std::string& reason = saved_.pause_reason;
  if (drops_.has_value() || absl::c_linear_search(kUsual, reason)) return PublishStatus();
  Emit(EventType::kStateChanged, absl::StrCat("the VM is paused (", reason, ")"), now);
}

void VmSession::SaveSoon(Instant now) {
  const bool has_event = std::any_of(effects_.begin(), effects_.end(), HasEvent);
  // The outcome of the shutdown file follows at once, and is saved together with this.
  if (!has_event && file_step_ == FileStep::kRequested) return;
  // An event is committed together with what it changed; the rest can wait for a moment.
  if (!has_event && !save_limit_.Take(now.monotonic)) {
    save_at_ = std::min(save_at_, now.monotonic + kSaveDelay);
    return;
  }
  SaveNow();
}

void VmSession::SaveNow() {
  save_at_ = absl::InfiniteDuration();
  std::string text = Save();
  const size_t hash = absl::HashOf(text);
  // An event changes the sequence of the run's last event, which is saved with the text.
  if (hash == saved_hash_ && std::none_of(effects_.begin(), effects_.end(), HasEvent)) return;
  saved_hash_ = hash;
  auto last = std::find_if(effects_.rbegin(), effects_.rend(), IsPublish);
  if (last == effects_.rend()) {
    PublishStatus();
    last = effects_.rbegin();
  }
  std::get<Publish>(*last).update.saved_run = std::move(text);
}

void VmSession::SetProblem(Subject subject, Problem problem) {
  std::vector<RunProblem>& all = saved_.problems;
  std::erase_if(all, [&](const RunProblem& known) { return known.subject == subject; });
  if (!problem.empty()) all.push_back({std::move(problem), subject});
  std::ranges::sort(all, {}, &RunProblem::subject);
}

Problem VmSession::ProblemOf(Subject subject) const {
  const auto found = std::ranges::find(saved_.problems, subject, &RunProblem::subject);
  return found == saved_.problems.end() ? Problem() : Problem(*found);
}

v1::Vm VmSession::Status() const {
  v1::Vm status;
  v1::VmRef* const ref = status.mutable_ref();
  ref->set_name(saved_.run.name);
  ref->set_run_id(saved_.run.run_id);
  ref->set_uuid(saved_.uuid);
  ref->set_pid(saved_.run.pid);
  ref->set_source(saved_.run.source);
  ref->mutable_labels()->insert(saved_.labels.begin(), saved_.labels.end());
  ref->set_unit(saved_.run.unit);
  const VmState state = saved_.published_state;
  const bool stopped = state == VmState::kStopped;
  status.set_state(ToProto(state));
  if (state == VmState::kPaused) status.set_pause_reason(saved_.pause_reason);
  *status.mutable_state_time() = ToTimestamp(saved_.published_state_time);
  if (saved_.run.process_start != absl::InfinitePast()) {
    *status.mutable_start_time() = ToTimestamp(saved_.run.process_start);
  }
  status.set_qemu_version(saved_.qemu_version);
  status.set_monitor_path(saved_.run.monitor_path);
  for (const Problem& problem : published_problems_) *status.add_problems() = ToProto(problem);
  if (state == VmState::kGuestDown || stopped) {
    *status.mutable_shutdown() = MakeDetail();
  }
  if (saved_.intent.has_value() && !stopped) {
    *status.mutable_intent() = saved_.intent->intent;
  }
  status.set_attached(attached_ && saved_.monitor == Monitor::kReady);
  return status;
}

// The end

void VmSession::Handle(const input::ProcessGone& input, Instant now) {
  EnsureStarted(now);
  gone_ = true;
  end_.emplace().mutable_numbers();
  if (saved_.run.process_start > absl::InfinitePast() && now.wall > saved_.run.process_start &&
      !input.end.unseen && !away_) {
    *end_->mutable_numbers()->mutable_ran_for() =
        ToProtoDuration(now.wall - saved_.run.process_start);
  }
  // The end of a process that is not followed shows in its monitor, if that is there, or in its
  // manager's report.
  const bool monitor_shows =
      !away_ && !IsCatchingUp(now) &&
      (saved_.monitor == Monitor::kReady ||
       (saved_.monitor == Monitor::kClosed && !ReporterOf(saved_.run).is_manager));
  if (input.end.late || (!saved_.run.process_tracked && !monitor_shows &&
                         !saved_.evidence.facts.manager_end.has_value())) {
    SawEndLate(now);
  }
  save_at_ = poll_at_ = absl::InfiniteDuration();
  ForgetSilence();
  if (saved_.monitor == Monitor::kLost && now.monotonic >= closed_at_.monotonic + kLostGrace) {
    saved_.evidence.facts.monitored = false;
  } else if (saved_.monitor == Monitor::kLost && unready_ &&
             saved_.state == VmState::kUnreachable) {
    saved_.evidence.Saw(&Evidence::never_ran, "monitor closed before QEMU reported its run state",
                        closed_at_, EvidenceId::kNotRunning);
  }
  if (MayBeStarting(now) && !saved_.evidence.facts.never_ran) {
    saved_.evidence.facts.never_greeted = true;
    saved_.evidence.Saw(absl::StrCat("no greeting came in the ",
                                     absl::ToInt64Seconds(now.wall - saved_.run.process_start),
                                     " s of QEMU's life: it was starting, or another client held "
                                     "its monitor"),
                        now);
  } else if (ProblemOf(Subject::kMonitor).code == ProblemCode::kNoGreeting) {
    saved_.evidence.Saw("no greeting came: another client held the monitor, or QEMU hung", now);
  }
  if (shares_path() && saved_.monitor != Monitor::kReady && saved_.monitor != Monitor::kClosed) {
    saved_.evidence.Saw(ProblemOf(Subject::kPath).text, now);
  }
  SawRestart(now);
  const bool attached = answered() || ReporterOf(saved_.run).is_manager;
  if (attached && saved_.monitor != Monitor::kReady && saved_.monitor != Monitor::kClosed) {
    saved_.evidence.facts.unfollowed = true;
    LostSight(now);
  }
  // The report of its end is lost, as it may be before Linux 6.15.
  if (input.end.unseen && !input.end.status.has_value()) LoseSight();
  // If libvirt has not reported how it ended, a SHUTDOWN may not have been passed on either. Where
  // it reports "failed", its monitor ended without one; but a QEMU that exits with input unread, as
  // after a quit, resets that connection, and takes along what it had sent
  // (docs/internals/libvirt.md).
  const std::optional<ManagerEnd>& manager_end = saved_.evidence.facts.manager_end;
  const Reporter& reporter = ReporterOf(saved_.run);
  if (reporter.is_manager && manager_end.value_or(ManagerEnd::kFailed) == ManagerEnd::kFailed) {
    saved_.evidence.facts.monitored = false;
  }
  saved_.evidence.facts.managed = reporter.is_manager && reporter.has_qemu;
  if (!saved_.run.process_tracked) {
    const bool reported = manager_end.has_value();
    saved_.evidence.Saw(std::string(reported ? reporter.reported_end : reporter.end), now);
  } else {
    if (saved_.monitor == Monitor::kClosed)
      saved_.evidence.Saw(std::string(reporter.closed), closed_at_);
    // libvirt ends the libvirt_lxc of a container that has stopped: how that ended is no evidence.
    const bool may_be_libvirt =
        manager_end.has_value() ? *manager_end != ManagerEnd::kFailed : input.end.unseen;
    const bool by_libvirt = !reporter.has_qemu && may_be_libvirt;
    saved_.evidence.SawProcessEnd(by_libvirt ? ProcessEnd{} : input.end, now);
  }
  Conclude(now);
}

void VmSession::SawEndLate(Instant now) {
  if (alive_at_ >= now.wall || alive_at_ == absl::InfinitePast()) return;
  *end_->mutable_last_seen_time() = ToTimestamp(alive_at_);
}

void VmSession::Conclude(Instant now) {
  if (file_step_ == FileStep::kUndone && RequestShutdownFile()) return;
  if (file_step_ == FileStep::kRequested || words_due_) return;
  if (!words_wanted_ && WantsWords()) {
    words_wanted_ = words_due_ = true;
    effects_.push_back(ReadLastWords{saved_.evidence.facts.exit_status});
    return;
  }
  Finish(now);
}

bool VmSession::WantsWords() const {
  if (!options_->last_words || !ReporterOf(saved_.run).has_qemu) return false;
  const Verdict verdict = CurrentVerdict();
  return verdict.shutdown_class == ShutdownClass::kCrash ||
         verdict.shutdown_class == ShutdownClass::kUnknown ||
         verdict.cause == ShutdownCause::kNeverRan ||
         verdict.cause == ShutdownCause::kMigrationFailed ||
         (verdict.cause == ShutdownCause::kHostSignal && saved_.evidence.SenderOfEnd() == nullptr);
}

void VmSession::Handle(const input::WordsRead& input, Instant now) {
  if (!std::exchange(words_due_, false)) return;
  end_->MergeFrom(input.facts);
  // The file of standard error may have had other writers: its lines only confirm.
  const std::optional<SignalSender> sender = SenderInWords(end_->last_words());
  if (sender.has_value() && (end_->last_words().source() != v1::LAST_WORDS_SOURCE_STANDARD_ERROR ||
                             saved_.evidence.facts.signaller.has_value())) {
    saved_.evidence.SawSenderInWords(*sender, now);
  }
  if (!end_->core().empty()) saved_.evidence.Saw(absl::StrCat("core dumped: ", end_->core()), now);
  Conclude(now);
}

void VmSession::Handle(const input::HostRebooted& /*input*/, Instant now) {
  gone_ = true;
  end_.emplace();
  SawEndLate(now);
  saved_.evidence.facts.host_rebooted = true;
  saved_.evidence.Saw("the host was rebooted: the run ended with it, unseen", now);
  Finish(now);
}

void VmSession::Handle(const input::FileDone& input, Instant now) {
  const bool tried = input.status.has_value();
  const bool ok = tried && input.status->ok();
  if (tried) {
    SetProblem(Subject::kFile, {ProblemCode::kShutdownFile, std::string(input.status->message())});
  }
  if (file_step_ != FileStep::kRequested) {
    if (tried) saved_.file_written = !ok;  // a file that was taken back: the VM lives
    return;
  }
  // A failure is tried once more when the process is gone: the disk may have room by then.
  file_step_ = tried && !ok && !gone_ ? FileStep::kUndone : FileStep::kDone;
  saved_.file_written = ok && CurrentVerdict().file_class == ShutdownClass::kUser;
  if (gone_) Conclude(now);
}

Verdict VmSession::CurrentVerdict() const {
  return Classify(saved_.evidence.facts, options_->powerdown_window);
}

bool VmSession::NeverRan() const {
  const Evidence& facts = saved_.evidence.facts;
  // A reset of a paused VM leads to `prelaunch` too; only a start leads to `inmigrate`.
  const bool from_start =
      facts.incoming || saved_.attached_at.wall - saved_.run.process_start < kLateAttach;
  return facts.never_ran && facts.monitored && !away_ && from_start;
}

bool VmSession::RequestShutdownFile() {
  // Only Ganeti reads it, and a directory of others need not be writable.
  if (!absl::EndsWith(saved_.run.raw_path, ".kvmd") || ReporterOf(saved_.run).is_manager) {
    return false;
  }
  const ShutdownClass file_class = CurrentVerdict().file_class;
  if (file_class == ShutdownClass::kUnknown) return false;
  file_step_ = FileStep::kRequested;
  effects_.push_back(SetShutdownFile{file_class == ShutdownClass::kUser});
  return true;
}

void VmSession::TakeShutdownFileBack() {
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;  // the next end decides
  if (!saved_.file_written || saved_.evidence.decided()) return;
  saved_.file_written = false;
  effects_.push_back(SetShutdownFile{false});
}

void VmSession::Finish(Instant now) {
  FlushDropped(now);
  SetState(VmState::kStopped, now);
  std::erase_if(saved_.problems,
                [](const RunProblem& problem) { return problem.subject != Subject::kFile; });
  v1::Event event = MakeEvent(EventType::kStopped, "");
  const EvidenceLog& evidence = saved_.evidence;
  if (evidence.facts.shutdown.has_value() && !evidence.facts.host_rebooted) {
    event.set_qmp_event("SHUTDOWN");
    if (const auto& time = evidence.shutdown_qemu_time; time.has_value()) {
      *event.mutable_qemu_time() = ToTimestamp(*time);
    }
    event.set_detail_json(evidence.shutdown_json);
  }
  EmitAlways(std::move(event), now);
  std::get<Publish>(effects_.back()).update.saved_run = "";
  effects_.push_back(Done{});
}

v1::ShutdownDetail VmSession::MakeDetail() const {
  const Evidence& facts = saved_.evidence.facts;
  const Rare<ShutdownFact>& shutdown = facts.shutdown;
  const Verdict verdict = CurrentVerdict();
  v1::ShutdownDetail detail;
  if (end_.has_value()) detail = *end_;
  detail.set_shutdown_class(ToProto(verdict.shutdown_class));
  detail.set_cause(ToProto(verdict.cause));
  detail.set_rule(std::string(verdict.rule));
  detail.set_never_ran(NeverRan());
  const auto powerdown_age = shutdown.has_value() ? shutdown->powerdown_age : std::nullopt;
  if (powerdown_age.has_value()) *detail.mutable_powerdown_age() = ToProtoDuration(*powerdown_age);
  std::vector<ShutdownCaveat> caveats;
  if (verdict.shutdown_class == ShutdownClass::kUser) {
    const std::optional<ShutdownCaveat> caveat =
        shutdown.has_value() ? shutdown->caveat : AgentCaveat(closed_at_.monotonic);
    if (caveat.has_value()) caveats.push_back(*caveat);
    if (shutdown.has_value() && shutdown->host_shutdown) {
      caveats.push_back(ShutdownCaveat::kHostShuttingDown);
    }
    // A guest that reboots, as for its updates, may obey all the same.
    const bool reboots = verdict.cause == ShutdownCause::kGuestRebootExit;
    const bool rebooted = reboots || (shutdown.has_value() && shutdown->powerdown_cleared);
    if (powerdown_age.has_value() && (*powerdown_age <= options_->powerdown_window) == rebooted) {
      caveats.push_back(ShutdownCaveat::kPowerdownEarlier);
    }
    if (reboots && facts.no_panic_device) caveats.push_back(ShutdownCaveat::kNoPanicDevice);
    if (!reboots && shutdown.has_value() && shutdown->unseen_age.has_value() &&
        *shutdown->unseen_age <= options_->powerdown_window) {
      caveats.push_back(ShutdownCaveat::kPowerdownUnseen);
    }
  }
  std::vector<EvidenceEntry> seen = saved_.evidence.timeline;
  const absl::Duration late = saved_.attached_at.wall - saved_.run.process_start;
  const bool attached = answered() || ReporterOf(saved_.run).is_manager;
  if (attached && late >= kLateAttach && late < absl::InfiniteDuration()) {
    seen.insert(seen.begin(),
                {saved_.attached_at.wall,
                 absl::StrCat("monitor attached ",
                              absl::FormatDuration(absl::Trunc(late, absl::Seconds(1))),
                              " after QEMU started, what came before was not seen")});
  }
  // The intent that counts, else the one that is open.
  const Rare<DeclaredIntent>& intent =
      saved_.counted_intent.has_value() ? saved_.counted_intent : saved_.intent;
  if (intent.has_value()) {
    *detail.mutable_intent() = intent->intent;
    InsertByTime({intent->declared, absl::StrCat("intent declared by ", intent->intent.actor())},
                 &seen);
  }
  for (const ShutdownCaveat caveat : caveats) {
    detail.add_caveats(ToProto(caveat));
    Describe(caveat, &seen);
  }
  if (verdict.rule == kHostShutdownAgentRule) Describe(ShutdownCaveat::kGuestAgentConnected, &seen);
  for (EvidenceEntry& entry : seen) {
    v1::Evidence* const evidence = detail.add_evidence();
    *evidence->mutable_time() = ToTimestamp(entry.time);
    evidence->set_what(std::move(entry.what));
  }
  if (!facts.exit_status.has_value()) {
    if (saved_.published_state == VmState::kStopped) detail.set_exit_unknown(true);
  } else if (facts.exit_status->signal == 0) {
    detail.set_exit_code(facts.exit_status->code);
  } else {
    detail.mutable_exit_signal()->set_number(facts.exit_status->signal);
    detail.mutable_exit_signal()->set_core_dumped(facts.exit_status->core_dumped);
  }
  if (const SignalSender* sender = saved_.evidence.SenderOfEnd(); sender != nullptr) {
    *detail.mutable_sender() = ToProto(*sender);
  }
  if (saved_.evidence.panic.has_value()) *detail.mutable_panic() = *saved_.evidence.panic;
  detail.set_shutdown_file_written(saved_.file_written);
  return detail;
}

}  // namespace vmeventd
