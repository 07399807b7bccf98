#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace vmeventd {

// A clock that stands still until advanced. Any thread.
class ManualClock : public Clock {
 public:
  // The wall clock's time at the start, in seconds since 1970.
  static constexpr int64_t kStartSeconds = 1'800'000'000;

  Instant Now() const override {
    const MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    const MutexLock lock(&mutex_);
    now_.wall += by;
    now_.monotonic += by;
  }
  // Sets the wall clock.
  void Set(absl::Time wall) {
    const MutexLock lock(&mutex_);
    now_.wall = wall;
  }

 private:
  mutable Mutex mutex_;
  Instant now_ ABSL_GUARDED_BY(mutex_) = {absl::FromUnixSeconds(kStartSeconds),
                                          absl::Seconds(1000)};
};

}  // namespace vmeventd
