// Publishes and saves the events of a session's run.

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

// Time that a changed run may wait to be saved in a flood.
constexpr absl::Duration kKeepDelay = absl::Milliseconds(100);

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
  switch (type) {
    case EventType::kStarted:
    case EventType::kStopped:
    case EventType::kIoError:
    case EventType::kMemoryFailure:
    case EventType::kMigration:
    case EventType::kIntentDeclared:
    case EventType::kIntentWithdrawn:
    case EventType::kGap:
      return false;
    default:
      return true;
  }
}

}  // namespace

bool EventLimiter::Admit(EventType type, absl::Duration now) {
  const bool owed = IsEvidenceOrState(type);
  const auto last = std::find_if(admitted_.begin(), admitted_.end(),
                                 [type](const Admitted& one) { return one.type == type; });
  const bool first = last == admitted_.end();
  if (!bucket_.Has(now) && !(owed && (first || now - last->at >= kEvidenceInterval))) {
    ++dropped_;
    ++dropped_total_;
    return false;
  }
  if (!first) {
    last->at = now;
  } else if (owed) {
    admitted_.push_back({type, now});
  }
  bucket_.Spend(now);
  return true;
}

absl::string_view VmSession::StateText(VmState state) {
  switch (state) {
    case VmState::kRunning:
      return "running";
    case VmState::kPaused:
      return "paused";
    case VmState::kSuspended:
      return "suspended";
    case VmState::kGuestDown:
      return "down, but QEMU still runs";
    case VmState::kUnreachable:
      return "not reachable";
    case VmState::kStopped:
      return "stopped";
  }
  return "";
}

VmEvent VmSession::MakeEvent(EventType type, std::string message, Instant now) {
  VmEvent event;
  event.type = type;
  event.observe_time = now.wall;
  event.observe_monotonic = now.monotonic;
  event.message = std::move(message);
  return event;
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
  if (!saved_.monitor_problem.empty()) absl::StrAppend(&message, "; ", saved_.monitor_problem.text);
  PublishEvent(MakeEvent(EventType::kStarted, message, now));
  if (!gone_) KeepNow();
}

void VmSession::FlushDropped(Instant now) {
  if (!drops_.has_value()) return;
  drops_.reset();
  VmEvent gap = MakeEvent(
      EventType::kGap,
      absl::StrCat(limiter_->TakeDropped(), " events of this VM were dropped: it sent more than ",
                   EventLimiter::kBurst, " at once and ", EventLimiter::kPerSecond, " a second"),
      now);
  gap.gap_reason = GapReason::kRateLimited;
  PublishEvent(std::move(gap));
}

bool VmSession::Admit(EventType type, Instant now) {
  if (!options_->event_limits) return true;
  if (limiter_ == nullptr) limiter_ = std::make_unique<EventLimiter>();
  if (limiter_->Admit(type, now.monotonic)) return true;
  if (!drops_.has_value()) drops_ = Drops{.first = now.monotonic};
  drops_->last = now.monotonic;
  return false;
}

void VmSession::Emit(VmEvent event, Instant now) {
  EnsureStarted(now);
  if (Admit(event.type, now)) PublishEvent(std::move(event));
}

void VmSession::EmitAlways(VmEvent event, Instant now) {
  EnsureStarted(now);
  PublishEvent(std::move(event));
}

void VmSession::PublishStatus() { AddUpdate(&effects_).status.emplace(Status()); }

void VmSession::PublishEvent(VmEvent event) {
  saved_.published_state = saved_.state;
  saved_.published_state_time = saved_.state_time;
  published_problems_ = Problems();
  VmUpdate& update = AddUpdate(&effects_);
  update.status.emplace(Status());
  update.event = std::move(event);
}

void VmSession::PublishChanges(Instant now) {
  if (!started_ || gone_) return;
  // After a drop the GAP reports both, when the flood is over.
  if (!drops_.has_value() && saved_.state != saved_.published_state) {
    const bool down = saved_.state == VmState::kGuestDown;
    VmEvent event = MakeEvent(down ? EventType::kGuestShutdown : EventType::kStateChanged,
                              absl::StrCat("the VM is ", StateText(saved_.state)), now);
    if (down) event.shutdown = MakeDetail();
    Emit(std::move(event), now);
  }
  if (!drops_.has_value()) {
    const std::forward_list<Problem> problems = Problems();
    if (problems != published_problems_) {
      const auto text = [](std::string* out, const Problem& problem) { *out += problem.text; };
      Emit(MakeEvent(EventType::kProblemsChanged,
                     problems.empty() ? "the VM has no problems any more"
                                      : absl::StrJoin(problems, "; ", text),
                     now),
           now);
    }
  }
  Keep(now);
  // Consequences of the other effects come after what is published here.
  if (!std::is_partitioned(effects_.begin(), effects_.end(), IsPublish)) {
    std::stable_partition(effects_.begin(), effects_.end(), IsPublish);
  }
}

void VmSession::Keep(Instant now) {
  const bool has_event = std::any_of(effects_.begin(), effects_.end(), HasEvent);
  // The outcome of the shutdown file follows at once, and is saved together with this.
  if (!has_event && file_step_ == FileStep::kRequested) return;
  // An event is committed together with what it changed; the rest can wait for a moment.
  if (!has_event && !keeps_.Take(now.monotonic)) {
    keep_at_ = std::min(keep_at_, now.monotonic + kKeepDelay);
    return;
  }
  KeepNow();
}

void VmSession::KeepNow() {
  keep_at_ = absl::InfiniteDuration();
  std::string text = Save();
  const size_t hash = absl::HashOf(text);
  // An event changes the sequence of the run's last event, which is saved with the text.
  if (hash == kept_ && std::none_of(effects_.begin(), effects_.end(), HasEvent)) return;
  kept_ = hash;
  auto last = std::find_if(effects_.rbegin(), effects_.rend(), IsPublish);
  if (last == effects_.rend()) {
    PublishStatus();
    last = effects_.rbegin();
  }
  std::get<Publish>(*last).update.saved_run = std::move(text);
}

void VmSession::KeepAtOnce() {
  if (started_) KeepNow();
}

std::forward_list<Problem> VmSession::Problems() const {
  std::forward_list<Problem> problems;
  // The last one first, as each goes to the front.
  for (const Problem* problem :
       {&saved_.uuid_problem, &saved_.exit_problem, &saved_.file_problem, &saved_.run_problem,
        &saved_.silence_problem, &saved_.monitor_problem}) {
    if (!problem->empty()) problems.emplace_front(*problem);
  }
  return problems;
}

VmStatus VmSession::Status() const {
  VmStatus status;
  status.ref = {.name = saved_.run.name,
                .run_id = saved_.run.run_id,
                .uuid = saved_.uuid,
                .pid = saved_.run.pid,
                .source = saved_.run.source,
                .labels = saved_.labels,
                .unit = saved_.run.unit};
  status.state = saved_.published_state;
  status.state_time = saved_.published_state_time;
  status.start_time = saved_.run.process_start;
  status.qemu_version = saved_.qemu_version;
  status.monitor_path = saved_.run.monitor_path;
  status.problems.assign(published_problems_.begin(), published_problems_.end());
  if (saved_.published_state == VmState::kGuestDown ||
      saved_.published_state == VmState::kStopped) {
    status.shutdown = MakeDetail();
  }
  if (saved_.intent.has_value() && saved_.published_state != VmState::kStopped) {
    status.intent = saved_.intent->intent;
  }
  status.attached = attached_ && saved_.monitor == Monitor::kReady;
  return status;
}

}  // namespace vmeventd
