#pragma once

#include <algorithm>

#include "absl/time/time.h"

namespace vmeventd {

// Returns the pause before the next attempt: twice the last one (0: none yet), but from `first` to
// `longest`.
inline absl::Duration NextPause(absl::Duration last, absl::Duration first, absl::Duration longest) {
  return std::min(std::max(2 * last, first), longest);
}

// Pauses between attempts. Each has a random part, so that the clients of a restarting server do
// not all return at once.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration longest) : first_(first), longest_(longest) {}

  // The next pause: between half of the nominal pause and all of it. `random` is in [0, 1).
  absl::Duration Next(double random) {
    last_ = NextPause(last_, first_, longest_);
    return last_ * (0.5 + random / 2);
  }
  // Restarts with the first pause.
  void Reset() { last_ = absl::ZeroDuration(); }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  absl::Duration last_;
};

// Random number in [0, 1). Any thread.
double RandomFraction();

}  // namespace vmeventd
