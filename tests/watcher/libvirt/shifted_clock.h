#pragma once

#include "absl/time/time.h"
#include "base/clock.h"

namespace vmeventd {

// The node's clocks, ahead of themselves: for tests with real processes. One thread.
class ShiftedClock : public Clock {
 public:
  Instant Now() const override {
    const Instant now = real_.Now();
    return {now.wall + shift_, now.monotonic + shift_};
  }
  void Advance(absl::Duration step) { shift_ += step; }

 private:
  SystemClock real_;
  absl::Duration shift_;
};

}  // namespace vmeventd
