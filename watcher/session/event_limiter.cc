#include "watcher/session/event_limiter.h"

#include <utility>

namespace vmeventd {
namespace {

bool IsEvidenceOrState(EventType type) {
  switch (type) {
    case EventType::kGuestShutdown:
    case EventType::kPowerdownRequested:
    case EventType::kReset:
    case EventType::kPaused:
    case EventType::kResumed:
    case EventType::kSuspended:
    case EventType::kWoken:
    case EventType::kHibernating:
    case EventType::kGuestPanicked:
    case EventType::kWatchdogExpired:
    case EventType::kMonitorLost:
    case EventType::kMonitorRestored:
    case EventType::kStateChanged:
    case EventType::kProblemsChanged:
      return true;
    default:
      return false;
  }
}

}  // namespace

EventLimiter::EventLimiter(NodeEventLimiter* node) : node_(node) {
  admitted_at_.fill(-absl::InfiniteDuration());
}

bool EventLimiter::Admit(EventType type, absl::Duration now) {
  absl::Duration& admitted_at = admitted_at_[static_cast<size_t>(type)];
  const bool due = IsEvidenceOrState(type) && now - admitted_at >= kEvidenceInterval;
  const bool quiet = quiet_.Has(now);
  const bool room = vm_.Has(now) && (quiet || node_ == nullptr || node_->bucket().Has(now));
  if (!room && !due) {
    ++dropped_;
    ++dropped_total_;
    return false;
  }
  admitted_at = now;
  vm_.Spend(now);
  if (quiet) {
    quiet_.Spend(now);
  } else if (node_ != nullptr) {
    node_->bucket().Spend(now);
  }
  return true;
}

uint64_t EventLimiter::TakeDropped() { return std::exchange(dropped_, 0); }

}  // namespace vmeventd
