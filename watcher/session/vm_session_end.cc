// The end of a run: what its process left, the shutdown file, the verdict, STOPPED.

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "watcher/core/causes.h"
#include "watcher/core/process_end.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/qemu_words.h"
#include "watcher/session/reporter.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

namespace {

// Records what of QEMU's start its monitor did not show: it closed before the first run state, sent
// no greeting, or belongs to another QEMU on the same path. `may_be_starting`: at its end QEMU was
// so young that nobody need have answered.
void SawSilentStart(const MonitorLink& link, bool may_be_starting, Instant now, RunState* run) {
  using Subject = RunProblem::Subject;
  EvidenceLog& evidence = run->evidence;
  if (!link.WasLost(now.monotonic) && link.lost() && link.closed_in_first_handshake() &&
      run->vm.state == VmState::kUnreachable) {
    evidence.Saw(&Evidence::never_ran, "monitor closed before QEMU reported its run state",
                 link.closed_at(), EvidenceId::kNotRunning);
  }
  if (may_be_starting && evidence.facts.never_ran == Fact::kNone) {
    evidence.facts.never_greeted = true;
    evidence.Saw(absl::StrCat("no greeting came in the ",
                              absl::ToInt64Seconds(now.wall - run->run.process_start),
                              " s of QEMU's life: it was starting, or another client held "
                              "its monitor"),
                 now);
  } else if (run->problems.Of(Subject::kMonitor).code == ProblemCode::kNoGreeting) {
    evidence.Saw("no greeting came: another client held the monitor, or QEMU hung", now);
  }
  const Problem shared_path = run->problems.Of(Subject::kPath);
  if (!shared_path.empty() && !link.ready() && !link.closed()) evidence.Saw(shared_path.text, now);
}

// Records how the process ended or, if it is not followed, what is taken as its end.
void SawProcess(const ProcessEnd& end, const MonitorLink& link, Instant now, RunState* run) {
  const RunInfo& info = run->run;
  EvidenceLog& evidence = run->evidence;
  const std::optional<ManagerEnd>& manager_end = evidence.facts.manager_end;
  evidence.facts.managed = info.has_manager && !info.is_container;
  if (!info.process_tracked) {
    return evidence.Saw(EndOfUnseen(info, /*reported=*/manager_end.has_value()), now);
  }
  if (link.closed()) evidence.Saw(ReporterClosed(info), link.closed_at());
  // The manager ends the process of a container that has stopped: how that ended is no evidence.
  const bool may_be_manager =
      manager_end.has_value() ? *manager_end != ManagerEnd::kFailed : end.unseen;
  const bool by_manager = info.is_container && may_be_manager;
  evidence.SawProcessEnd(by_manager ? ProcessEnd{} : end, now);
}

}  // namespace

// The order counts: it is that of the timeline, and a doubt covers only what was recorded before.
void VmSession::Handle(const input::ProcessGone& input, Instant now) {
  const ProcessEnd& end = input.end;
  EnsureStarted(now);
  saves_.Cancel();  // STOPPED removes the saved run
  StopAsking();

  // The facts of the end that are no evidence.
  steps_.OnGone();
  v1::EndNumbers* const numbers = steps_.facts()->mutable_numbers();
  const absl::Time start = saved_.run.process_start;
  if (start > absl::InfinitePast() && now.wall > start && !end.unseen && !restored_unattached()) {
    *numbers->mutable_ran_for() = ToProtoDuration(now.wall - start);
  }
  // The end of a process that is not followed shows in its monitor, if it has one, or in its
  // manager's report.
  if (end.late ||
      (!saved_.run.process_tracked && !link_.ShowsEnd(saved_.run.has_manager, now.monotonic) &&
       !saved_.evidence.facts.manager_end.has_value())) {
    SawEndLate(now);
  }

  // What was not seen of its life, from its start on.
  if (MayHaveMissedEvents(end, now)) saved_.evidence.facts.monitored = false;
  SawSilentStart(link_, MayBeStarting(now), now, &saved_);
  SawRestart(now);
  // This puts what stands so far in doubt.
  if (WasAttached(saved_) && !link_.ready() && (!link_.closed() || MayHaveOutlivedMonitor(end))) {
    saved_.evidence.facts.unfollowed = true;
    OnUnfollowedTime(now);
  }

  // The end of the process comes last: no doubt covers it.
  SawProcess(end, link_, now, &saved_);
  Conclude(now);
}

bool VmSession::MayHaveMissedEvents(const ProcessEnd& end, Instant now) const {
  if (link_.WasLost(now.monotonic)) return true;
  // The report of its end is lost, as it may be before Linux 6.15.
  if (end.unseen && !end.status.has_value()) return true;
  // If the manager has not reported how it ended, a SHUTDOWN may not have been passed on either.
  // Where it reports "failed", its monitor ended without one; but a QEMU that exits with input
  // unread, as after a quit, resets that connection, and takes along what it had sent
  // (docs/internals/libvirt.md).
  const ManagerEnd reported = saved_.evidence.facts.manager_end.value_or(ManagerEnd::kFailed);
  return saved_.run.has_manager && reported == ManagerEnd::kFailed;
}

bool VmSession::MayHaveOutlivedMonitor(const ProcessEnd& end) const {
  const Evidence& facts = saved_.evidence.facts;
  if (saved_.run.has_manager) return !facts.manager_end.has_value();
  return link_.maybe_alive() || (end.unseen && facts.stays_down);
}

void VmSession::SawEndLate(Instant now) {
  if (alive_at_ >= now.wall || alive_at_ == absl::InfinitePast()) return;
  *steps_.facts()->mutable_last_seen_time() = ToTimestamp(alive_at_);
}

void VmSession::Conclude(Instant now) {
  if (steps_.file_due() && RequestShutdownFile()) return;
  if (steps_.waits()) return;
  if (steps_.words_due() && WantsWords()) {
    steps_.RequestWords();
    effects_.push_back(ReadLastWords{saved_.evidence.facts.exit_status});
    return;
  }
  Finish(now);
}

bool VmSession::WantsWords() const {
  if (!options_->last_words || saved_.run.is_container) return false;
  const Verdict verdict = CurrentVerdict();
  return verdict.shutdown_class == ShutdownClass::kCrash ||
         verdict.shutdown_class == ShutdownClass::kUnknown ||
         TraitsOf(verdict.cause).failed_start ||
         (verdict.cause == ShutdownCause::kHostSignal && saved_.evidence.SenderOfEnd() == nullptr);
}

void VmSession::Handle(const input::WordsRead& input, Instant now) {
  if (!steps_.OnWordsRead(input.facts)) return;
  const v1::ShutdownDetail& facts = *steps_.facts();
  // The file of standard error may have had other writers: its lines only confirm.
  const std::optional<SignalSender> sender = SenderInLastWords(facts.last_words());
  if (sender.has_value() && (facts.last_words().source() != v1::LAST_WORDS_SOURCE_STANDARD_ERROR ||
                             saved_.evidence.facts.signaller.has_value())) {
    saved_.evidence.SawSenderInLastWords(*sender, now);
  }
  if (!facts.core().empty()) saved_.evidence.Saw(absl::StrCat("core dumped: ", facts.core()), now);
  Conclude(now);
}

void VmSession::Handle(const input::HostRebooted& /*input*/, Instant now) {
  steps_.OnGone();
  SawEndLate(now);
  saved_.evidence.facts.host_rebooted = true;
  saved_.evidence.Saw("the host was rebooted: the run ended with it, unseen", now);
  Finish(now);
}

void VmSession::Handle(const input::FileDone& input, Instant now) {
  const bool tried = input.status.has_value();
  const bool ok = tried && input.status->ok();
  if (tried) {
    saved_.problems.Set(Subject::kFile,
                        {ProblemCode::kShutdownFile, std::string(input.status->message())});
  }
  if (!steps_.OnFileDone(/*failed=*/tried && !ok)) {
    if (tried) saved_.file_written = !ok;  // the file was taken back, because the VM lives on
    return;
  }
  saved_.file_written = ok && CurrentVerdict().file_class == ShutdownClass::kUser;
  if (gone()) Conclude(now);
}

Verdict VmSession::CurrentVerdict() const {
  return Classify(saved_.evidence.facts, options_->powerdown_window);
}

bool VmSession::RequestShutdownFile() {
  if (!saved_.run.has_shutdown_file) return false;
  const ShutdownClass file_class = CurrentVerdict().file_class;
  if (file_class == ShutdownClass::kUnknown) return false;
  steps_.RequestFile();
  effects_.push_back(SetShutdownFile{file_class == ShutdownClass::kUser});
  return true;
}

void VmSession::RevokeShutdownFile() {
  // A file that was asked for may be there soon.
  const bool under_way = steps_.file_requested();
  if (under_way && saved_.evidence.decided()) return;
  steps_.OnVmRevived();
  if (!(saved_.file_written || under_way) || saved_.evidence.decided()) return;
  saved_.file_written = false;
  effects_.push_back(SetShutdownFile{false});
}

void VmSession::Finish(Instant now) {
  FlushDropped(now);
  saved_.vm.Set(VmState::kStopped, now.wall);
  saved_.problems.LeaveOnly(Subject::kFile);
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

}  // namespace vmeventd
