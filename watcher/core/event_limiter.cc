#include "watcher/core/event_limiter.h"

#include <algorithm>
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

bool TokenBucket::Has(absl::Duration now) {
  if (now > refilled_at_) {
    tokens_ = std::min(burst_, tokens_ + absl::ToDoubleSeconds(now - refilled_at_) * per_second_);
    refilled_at_ = now;
  }
  return tokens_ >= 1;
}

void TokenBucket::Spend() { tokens_ = std::max(-burst_, tokens_ - 1); }

bool TokenBucket::Take(absl::Duration now) {
  if (!Has(now)) return false;
  Spend();
  return true;
}

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
  vm_.Spend();
  if (quiet) {
    quiet_.Spend();
  } else if (node_ != nullptr) {
    node_->bucket().Spend();
  }
  return true;
}

uint64_t EventLimiter::TakeDropped() { return std::exchange(dropped_, 0); }

}  // namespace vmeventd
