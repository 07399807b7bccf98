#ifndef VMEVENTD_WATCHER_CORE_EVENT_LIMITER_H_
#define VMEVENTD_WATCHER_CORE_EVENT_LIMITER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// A token bucket for the events of one VM, so that a guest that floods costs its own events only:
// kBurst at once, kPerSecond in the long run. Times are on the monotonic clock.
class EventLimiter {
 public:
  static constexpr int kBurst = 200;
  static constexpr int kPerSecond = 50;

  // Takes a token, or counts a drop.
  bool Admit(absl::Duration now);

  // How many were dropped since the last call.
  uint64_t TakeDropped();
  bool has_dropped() const { return dropped_ > 0; }
  // How many were dropped ever.
  uint64_t dropped_total() const { return dropped_total_; }

 private:
  double tokens_ = kBurst;
  absl::Duration refilled_at_ = -absl::InfiniteDuration();
  uint64_t dropped_ = 0;
  uint64_t dropped_total_ = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_EVENT_LIMITER_H_
