// How a run ends: the shutdown file, the verdict, STOPPED.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "watcher/core/vm_session.h"

namespace vmeventd {
namespace {

// A monitor attached this long after its process started may have missed something worth knowing.
constexpr absl::Duration kLateAttach = absl::Seconds(10);

std::string Seconds(absl::Duration age) {
  return absl::FormatDuration(absl::Trunc(age, absl::Milliseconds(1)));
}

void InsertByTime(EvidenceEntry entry, std::vector<EvidenceEntry>* evidence) {
  const auto later =
      std::find_if(evidence->begin(), evidence->end(),
                   [&](const EvidenceEntry& other) { return other.time > entry.time; });
  evidence->insert(later, std::move(entry));
}

}  // namespace

Effects VmSession::OnProcessGone(Instant now, const ProcessEnd& end) {
  Effects effects;
  if (gone_) return effects;
  EnsureStarted(now, &effects);
  ExpireIntent(now, &effects);
  gone_ = true;
  keep_at_ = absl::InfiniteDuration();
  if (monitor_ == Monitor::kLost && now.monotonic >= closed_at_.monotonic + kLostGrace) {
    evidence_.monitored = false;
  }
  SawRestart(now);
  if (!run_.process_tracked) {
    Saw("monitor closed; the process is not tracked, so this is taken as its end", now);
  } else {
    if (monitor_ == Monitor::kClosed) Saw("monitor closed", closed_at_);
    Saw("process gone", now);
    evidence_.exit_status = end.status;
    evidence_.oom_killed = end.oom_killed;
    if (end.status.has_value()) {
      Saw(DescribeExit(*end.status), now);
    } else if (!IsDecided(evidence_)) {
      Saw("exit status not known", now);
    }
    if (end.oom_killed) Saw("one more OOM kill in its cgroup", now);
  }
  if (file_step_ == FileStep::kUndone && RequestShutdownFile(&effects)) return effects;
  if (file_step_ != FileStep::kRequested) Finish(now, &effects);
  return effects;
}

Effects VmSession::OnHostRebooted(Instant now) {
  Effects effects;
  if (gone_) return effects;
  gone_ = true;
  evidence_.host_rebooted = true;
  Saw("the host was rebooted: the run ended with it, unseen", now);
  Finish(now, &effects);
  return effects;
}

Effects VmSession::OnShutdownFileFound(absl::Time written, Instant now) {
  file_written_ = true;
  if (!IsDecided(evidence_)) {
    evidence_.shutdown_file_found = true;
    Saw(absl::StrCat("shutdown file found, written by vmeventd at ",
                     absl::FormatTime(absl::RFC3339_sec, written, absl::UTCTimeZone())),
        {written, now.monotonic});
  }
  return Settled(now, {});
}

Effects VmSession::OnShutdownFileDone(const absl::Status& status, Instant now) {
  Effects effects;
  if (file_step_ != FileStep::kRequested) {
    // A file that was taken back because the VM lives.
    file_problem_ = status.ok() ? "" : std::string(status.message());
    return Settled(now, std::move(effects));
  }
  file_step_ = FileStep::kDone;
  const bool user =
      Classify(evidence_, options_->powerdown_window).shutdown_class == ShutdownClass::kUser;
  file_written_ = user && status.ok();
  file_problem_ = status.ok() ? "" : std::string(status.message());
  if (gone_) Finish(now, &effects);
  return Settled(now, std::move(effects));
}

Effects VmSession::OnShutdownFileLeft(Instant now) {
  Effects effects;
  if (file_step_ != FileStep::kRequested) return effects;
  file_step_ = FileStep::kDone;
  file_written_ = false;
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

void VmSession::TakeShutdownFileBack(Effects* effects) {
  if (!file_written_ || IsDecided(evidence_) || !options_->shutdown_files) return;
  file_written_ = false;
  effects->push_back(RemoveShutdownFile{});
}

void VmSession::Finish(Instant now, Effects* effects) {
  FlushDropped(now, effects);
  SetState(VmState::kStopped, now);
  monitor_problem_.clear();
  run_problem_.clear();
  uuid_problem_.clear();
  ForgetExit();
  ShutdownDetail detail = MakeDetail();
  std::vector<std::string> seen;
  for (const EvidenceEntry& entry : detail.evidence) seen.push_back(entry.what);
  VmEvent event = MakeEvent(
      EventType::kStopped,
      absl::StrCat(ShutdownClassName(detail.shutdown_class), ": ", CauseSentence(detail.cause),
                   ". Seen: ", absl::StrJoin(seen, ", "), "."),
      now);
  if (evidence_.shutdown.has_value() && !evidence_.host_rebooted) {
    event.qmp_event = "SHUTDOWN";
    event.qemu_time = shutdown_qemu_time_;
    event.detail_json = shutdown_json_;
  }
  event.shutdown = std::move(detail);
  EmitAlways(std::move(event), now, effects);
  std::get<Publish>(effects->back()).update.saved_run = "";
  effects->push_back(Done{});
}

ShutdownDetail VmSession::MakeDetail() const {
  const Verdict verdict = Classify(evidence_, options_->powerdown_window);
  ShutdownDetail detail;
  detail.shutdown_class = verdict.shutdown_class;
  detail.cause = verdict.cause;
  detail.rule = std::string(verdict.rule);
  if (evidence_.shutdown.has_value()) detail.powerdown_age = evidence_.shutdown->powerdown_age;
  if (verdict.shutdown_class == ShutdownClass::kUser) {
    const std::optional<ShutdownCaveat> caveat = evidence_.shutdown.has_value()
                                                     ? evidence_.shutdown->caveat
                                                     : AgentCaveat(closed_at_.monotonic);
    if (caveat.has_value()) detail.caveats.push_back(*caveat);
  }
  const absl::Duration late = attached_at_.wall - run_.process_start;
  if (late >= kLateAttach && late < absl::InfiniteDuration()) {
    detail.evidence.push_back(
        {attached_at_.wall,
         absl::StrCat("monitor attached ", Seconds(absl::Trunc(late, absl::Seconds(1))),
                      " after QEMU started, what came before was not seen")});
  }
  detail.evidence.insert(detail.evidence.end(), timeline_.begin(), timeline_.end());
  if (const DeclaredIntent* intent = IntentOfTheEnd(); intent != nullptr) {
    detail.intent = intent->intent;
    InsertByTime({intent->declared, absl::StrCat("intent declared by ", intent->intent.actor)},
                 &detail.evidence);
  }
  for (const ShutdownCaveat caveat : detail.caveats) DescribeAgent(caveat, &detail);
  detail.exit_status = evidence_.exit_status;
  detail.shutdown_file_written = file_written_;
  return detail;
}

void VmSession::DescribeAgent(ShutdownCaveat caveat, ShutdownDetail* detail) const {
  if (caveat == ShutdownCaveat::kGuestAgentPossible) {
    InsertByTime({attached_at_.wall,
                  "the VM has a guest agent's port whose device has no id: QEMU does not report "
                  "whether an agent is connected"},
                 &detail->evidence);
    return;
  }
  if (agent_.opened.has_value()) {
    InsertByTime({agent_.opened->wall,
                  "guest agent connected: the host can ask it for a shutdown, which leaves no "
                  "trace on the monitor"},
                 &detail->evidence);
  }
  if (agent_.closed.has_value()) {
    InsertByTime({agent_.closed->wall, "guest agent disconnected"}, &detail->evidence);
  }
}

}  // namespace vmeventd
