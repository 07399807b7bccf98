#pragma once

#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"

namespace vmeventd {

// The time by which retention judges how old events are: the node's, but for a step ahead, which
// counts only once it has lasted. A clock that is a year ahead for a while, as after a boot with a
// wrong hardware clock, must not delete the whole history. Pure; one thread.
class RetentionClock {
 public:
  // A step ahead of more than this is not believed at once, and believed after kHold.
  static constexpr absl::Duration kMaxStep = absl::Hours(1);
  static constexpr absl::Duration kHold = absl::Hours(24);
  // Likewise for a step while no daemon ran.
  static constexpr absl::Duration kMaxAbsence = absl::Hours(24 * 180);

  // `newest`: observation time of the newest event; InfinitePast if there is none.
  explicit RetentionClock(absl::Time newest) : newest_(newest) {}

  // The time that counts. `now` never goes back on the monotonic clock.
  absl::Time Read(Instant now) {
    const absl::Time origin = now.wall - now.monotonic;
    if (!origin_.has_value()) {
      const bool believed = newest_ == absl::InfinitePast() || now.wall - newest_ <= kMaxAbsence;
      origin_ = believed ? origin : newest_ - now.monotonic;
    }
    const bool held_long_enough = until_.has_value() && now.monotonic >= *until_;
    if (origin - *origin_ <= kMaxStep || held_long_enough) {
      origin_ = origin;
      until_.reset();
    } else if (!until_.has_value()) {
      until_ = now.monotonic + kHold;
      step_ = origin - *origin_;
    }
    return *origin_ + now.monotonic;
  }
  // Steps by which the clock went ahead, once for each step that is not believed yet.
  std::optional<absl::Duration> TakeStep() { return std::exchange(step_, std::nullopt); }

 private:
  const absl::Time newest_;
  std::optional<absl::Time> origin_;     // the believed time at which the monotonic clock was 0
  std::optional<absl::Duration> until_;  // monotonic time at which the step is believed
  std::optional<absl::Duration> step_;
};

}  // namespace vmeventd
