#include "watcher/session/event_limiter.h"

#include <algorithm>

#include "absl/algorithm/container.h"

namespace vmeventd {
namespace {

// Returns whether the VM's state, or the verdict on its end, may depend on the event.
bool UsesReserve(EventType type) {
  using enum EventType;
  constexpr EventType kReports[] = {kIoError, kMemoryFailure, kMigration};
  return !absl::c_linear_search(kReports, type);
}

}  // namespace

bool EventLimiter::Admit(EventType type, absl::Duration now) {
  if (!bucket_.Has(now) && !(UsesReserve(type) && reserve_.Take(now))) {
    ++dropped_;
    if (!drops_.has_value()) drops_ = Drops{.first = now};
    ++drops_->count;
    drops_->last = now;
    return false;
  }
  bucket_.Spend(now);
  return true;
}

absl::Duration EventLimiter::ReportAt() const {
  if (!drops_.has_value()) return absl::InfiniteDuration();
  return std::min(drops_->last + kQuiet, drops_->first + kMaxFlood);
}

uint64_t EventLimiter::TakeDrops() {
  const uint64_t count = drops_.has_value() ? drops_->count : 0;
  drops_.reset();
  return count;
}

}  // namespace vmeventd
