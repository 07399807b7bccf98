#include "watcher/core/event_limiter.h"

#include <algorithm>
#include <utility>

namespace vmeventd {

bool EventLimiter::Admit(absl::Duration now) {
  if (now > refilled_at_) {
    const double earned = absl::ToDoubleSeconds(now - refilled_at_) * kPerSecond;
    tokens_ = std::min<double>(kBurst, tokens_ + earned);
    refilled_at_ = now;
  }
  if (tokens_ < 1) {
    ++dropped_;
    ++dropped_total_;
    return false;
  }
  tokens_ -= 1;
  return true;
}

uint64_t EventLimiter::TakeDropped() { return std::exchange(dropped_, 0); }

}  // namespace vmeventd
