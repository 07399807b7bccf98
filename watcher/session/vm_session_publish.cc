// Publishes the events of a run, and its state, problems and pauses that no event has reported.

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "watcher/core/event_types.h"
#include "watcher/core/label_rule.h"
#include "watcher/core/proto_time.h"
#include "watcher/session/end_detail.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// Appends an empty update, which the caller fills in: updates are large to move.
VmUpdate& AddUpdate(Effects* effects) {
  if (effects->empty()) effects->reserve(2);  // few steps have more effects
  return std::get<Publish>(effects->emplace_back(Publish{})).update;
}

}  // namespace

void VmSession::EnsureStarted(Instant now, absl::string_view qemu_name) {
  if (started_) return;
  started_ = true;
  saved_.labels = WithRules(options_->label_rules, saved_.run.name, saved_.labels);
  std::string message = "a QEMU process";
  if (!saved_.qemu_version.empty()) message = absl::StrCat("QEMU ", saved_.qemu_version);
  if (saved_.run.pid != 0) absl::StrAppend(&message, ", pid ", saved_.run.pid);
  if (!qemu_name.empty()) absl::StrAppend(&message, ", named ", qemu_name);
  absl::StrAppend(&message, ", ", StateText(saved_.vm.state));
  const Problem problem = saved_.problems.Of(Subject::kMonitor);
  if (!problem.empty()) absl::StrAppend(&message, "; ", problem.text);
  PublishEvent(MakeEvent(EventType::kStarted, message), now);
  if (!gone()) SaveNow();
}

void VmSession::FlushDropped(Instant now) {
  if (!limiter_.has_drops()) return;
  PublishEvent(
      MakeGap(GapReason::kRateLimited,
              absl::StrCat(
                  limiter_.TakeDrops(), " events of this VM were dropped: it sent more than ",
                  EventLimiter::kBurst, " at once and ", EventLimiter::kPerSecond, " a second"),
              now.wall),
      now);
}

bool VmSession::Admit(EventType type, Instant now) {
  return !options_->event_limits || limiter_.Admit(type, now.monotonic);
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
  saved_.vm.MarkPublished(ShownState(), now.wall);
  saved_.problems.MarkPublished();
  VmUpdate& update = AddUpdate(&effects_);
  const v1::ShutdownDetail& detail = update.status.emplace(Status()).shutdown();
  *event.mutable_observe_time() = ToTimestamp(now.wall);
  if (event.type() == EventType::kStopped) {
    event.set_message(StoppedMessage(detail, saved_.evidence.SenderOfEnd()));
  }
  if (HasEnd(event.type())) *event.mutable_shutdown() = detail;
  update.event = std::move(event);
  update.observed = now.monotonic;
}

void VmSession::PublishChanges(Instant now) {
  if (!started_ || gone()) return;
  // After a drop the GAP reports both once the flood is over.
  if (const VmState state = ShownState();
      !limiter_.has_drops() && state != saved_.vm.published_state) {
    const bool down = state == VmState::kGuestDown;
    Emit(down ? EventType::kGuestShutdown : EventType::kStateChanged,
         absl::StrCat("the VM is ", StateText(state)), now);
  }
  if (!limiter_.has_drops() && saved_.problems.changed()) {
    const std::vector<Problem> problems = saved_.problems.List();
    const auto text = [](std::string* out, const Problem& problem) { *out += problem.text; };
    Emit(EventType::kProblemsChanged,
         problems.empty() ? "the VM has no problems any more" : absl::StrJoin(problems, "; ", text),
         now);
  }
  if (saved_.vm.TakePauseReasonChange()) PublishPauseReason(now);
  saved_.monitor_lost = link_.lost();
  SaveSoon(now);
  // Consequences of the other effects come after what is published here.
  if (!std::is_partitioned(effects_.begin(), effects_.end(), IsPublish)) {
    std::stable_partition(effects_.begin(), effects_.end(), IsPublish);
  }
}

void VmSession::PublishPauseReason(Instant now) {
  // The run states after a `stop` and of a migration need no event of their own.
  constexpr absl::string_view kUsual[] = {"paused", "finish-migrate", "postmigrate"};
  const std::string& reason = saved_.vm.pause_reason;
  if (limiter_.has_drops() || absl::c_linear_search(kUsual, reason)) return PublishStatus();
  Emit(EventType::kStateChanged, absl::StrCat("the VM is paused (", reason, ")"), now);
}

v1::ShutdownDetail VmSession::MakeDetail() const {
  return MakeEndDetail(saved_, {.verdict = CurrentVerdict(),
                                .powerdown_window = options_->powerdown_window,
                                .closed_at = link_.closed_at().monotonic,
                                .restored_unattached = restored_unattached(),
                                .read = steps_.facts()});
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
  const VmState state = saved_.vm.published_state;
  const bool stopped = state == VmState::kStopped;
  status.set_state(ToProto(state));
  if (state == VmState::kPaused) status.set_pause_reason(saved_.vm.pause_reason);
  *status.mutable_state_time() = ToTimestamp(saved_.vm.published_state_time);
  if (saved_.run.process_start != absl::InfinitePast()) {
    *status.mutable_start_time() = ToTimestamp(saved_.run.process_start);
  }
  status.set_qemu_version(saved_.qemu_version);
  status.set_monitor_path(saved_.run.monitor_path);
  for (const Problem& problem : saved_.problems.published) {
    *status.add_problems() = ToProto(problem);
  }
  if (state == VmState::kGuestDown || stopped) {
    *status.mutable_shutdown() = MakeDetail();
  }
  if (saved_.intents.open.has_value() && !stopped) {
    *status.mutable_intent() = saved_.intents.open->intent;
  }
  status.set_attached(link_.answered_all());
  return status;
}

}  // namespace vmeventd
