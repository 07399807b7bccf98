#pragma once

#include <optional>

#include "absl/time/time.h"
#include "base/clock.h"

namespace vmeventd {

// The node's clocks, ahead of themselves: for tests with real processes. One thread.
class ShiftedClock : public Clock {
 public:
  Instant Now() const override {
    const Instant now = stopped_.value_or(real_.Now());
    return {now.wall + shift_, now.monotonic + shift_};
  }
  void Advance(absl::Duration step) { shift_ += step; }
  // From now on they move by Advance alone.
  void Stop() { stopped_ = real_.Now(); }

 private:
  SystemClock real_;
  std::optional<Instant> stopped_;
  absl::Duration shift_;
};

}  // namespace vmeventd
