#include "watcher/session/event_limiter.h"

#include <algorithm>

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
    case EventType::kPvshutdownRequested:
      return true;
    case EventType::kStarted:
    case EventType::kStopped:
    case EventType::kIoError:
    case EventType::kMemoryFailure:
    case EventType::kMigration:
    case EventType::kIntentDeclared:
    case EventType::kIntentWithdrawn:
    case EventType::kGap:
      break;
  }
  return false;
}

}  // namespace

bool EventLimiter::Admit(EventType type, absl::Duration now) {
  const auto last = std::find_if(admitted_.begin(), admitted_.end(),
                                 [type](const Admitted& one) { return one.type == type; });
  const bool first = last == admitted_.end();
  const bool due = IsEvidenceOrState(type) && (first || now - last->at >= kEvidenceInterval);
  const bool quiet = quiet_.Has(now);
  const bool room = vm_.Has(now) && (quiet || node_ == nullptr || node_->Has(now));
  if (!room && !due) {
    ++dropped_;
    ++dropped_total_;
    return false;
  }
  if (!first) {
    last->at = now;
  } else if (IsEvidenceOrState(type)) {
    admitted_.push_back({type, now});
  }
  vm_.Spend(now);
  if (quiet) {
    quiet_.Spend(now);
  } else if (node_ != nullptr) {
    node_->Spend(now);
  }
  return true;
}

}  // namespace vmeventd
