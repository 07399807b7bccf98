// Publishes and saves the events of a run, the last of which is its end: the shutdown file, the
// verdict, STOPPED.

#include <algorithm>
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
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// The end of a cause's sentence that does not hold where somebody had declared an intent, or the
// sender is known.
constexpr absl::string_view kByWhom = ", by whom is not known";

// The sentence of STOPPED. An intent answers what the sentence of the cause leaves open.
std::string HowItEnded(const v1::ShutdownDetail& detail) {
  absl::string_view cause = CauseSentence(static_cast<ShutdownCause>(detail.cause()));
  const int signal = detail.has_sender() ? detail.sender().signal() : detail.exit_signal().number();
  std::string named;
  if (detail.cause() == ShutdownCause::kHostSignal && signal != 0) {
    named = absl::StrCat("the host sent QEMU a ", SignalName(signal));
    cause = named;
  }
  if (detail.rule() == kKilledUnseenRule) {
    named = absl::StrCat("QEMU was ended by a ", SignalName(signal), kByWhom);
    cause = named;
  }
  if (detail.has_sender()) cause = absl::StripSuffix(cause, kByWhom);
  if (!detail.has_intent() || detail.shutdown_class() != ShutdownClass::kAdmin) {
    return std::string(cause);
  }
  return absl::StrCat(absl::StripSuffix(cause, kByWhom), ", as ", detail.intent().actor(),
                      " intended (", detail.intent().reason(), ")");
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

void VmSession::PublishStatus() { AddUpdate(&effects_).status.emplace(Status()); }

void VmSession::PublishEvent(v1::Event event, Instant now) {
  saved_.published_state = saved_.state;
  saved_.published_state_time = saved_.state_time;
  published_problems_ = Problems();
  VmUpdate& update = AddUpdate(&effects_);
  const v1::ShutdownDetail& detail = update.status.emplace(Status()).shutdown();
  *event.mutable_observe_time() = ToTimestamp(now.wall);
  if (event.type() == EventType::kStopped) {
    const auto add_seen = [](std::string* out, const v1::Evidence& seen) { *out += seen.what(); };
    const auto of_class = static_cast<ShutdownClass>(detail.shutdown_class());
    event.set_message(absl::StrCat(ShutdownClassName(of_class), ": ", HowItEnded(detail),
                                   ". Seen: ", absl::StrJoin(detail.evidence(), ", ", add_seen),
                                   "."));
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
  if (!drops_.has_value() && saved_.state != saved_.published_state) {
    const bool down = saved_.state == VmState::kGuestDown;
    Emit(down ? EventType::kGuestShutdown : EventType::kStateChanged,
         absl::StrCat("the VM is ", StateText(saved_.state)), now);
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
  SaveSoon(now);
  // Consequences of the other effects come after what is published here.
  if (!std::is_partitioned(effects_.begin(), effects_.end(), IsPublish)) {
    std::stable_partition(effects_.begin(), effects_.end(), IsPublish);
  }
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
  SawRestart(now);
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

bool VmSession::RequestShutdownFile() {
  const bool wanted = options_->shutdown_files == ShutdownFiles::kOn ||
                      (options_->shutdown_files == ShutdownFiles::kGaneti &&
                       absl::EndsWith(saved_.run.raw_path, ".kvmd"));
  if (!wanted || ReporterOf(saved_.run).is_manager) return false;
  const ShutdownClass file_class = CurrentVerdict().file_class;
  if (file_class == ShutdownClass::kUnknown) return false;
  file_step_ = FileStep::kRequested;
  effects_.push_back(SetShutdownFile{file_class == ShutdownClass::kUser});
  return true;
}

void VmSession::TakeShutdownFileBack() {
  if (file_step_ == FileStep::kDone) file_step_ = FileStep::kUndone;  // the next end decides
  // A file from before a restart with other settings is taken back as well.
  if (!saved_.file_written || saved_.evidence.decided() || ReporterOf(saved_.run).is_manager)
    return;
  if (options_->shutdown_files == ShutdownFiles::kOff) return;
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
