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
  // Stops the clocks: only Advance moves them from now on.
  void Stop() { stopped_ = real_.Now(); }
  // The clocks resume where they stopped.
  void Resume() {
    shift_ -= real_.Now().monotonic - stopped_->monotonic;
    stopped_.reset();
  }

 private:
  SystemClock real_;
  std::optional<Instant> stopped_;
  absl::Duration shift_;
};

}  // namespace vmeventd
