#ifndef VMEVENTD_CLIENT_CONNECT_BACKOFF_H_
#define VMEVENTD_CLIENT_CONNECT_BACKOFF_H_

#include <algorithm>

#include "absl/random/random.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// Pauses between attempts: each up to twice the previous one, up to a limit, with a random part, so
// that the clients of a restarting daemon do not all return at once. Pure.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration longest)
      : first_(first), longest_(longest), next_(first) {}

  // The next pause: between half of the nominal pause and all of it. `random` is in [0, 1).
  absl::Duration Next(double random) {
    const absl::Duration pause = next_ * (0.5 + random / 2);
    next_ = std::min(2 * next_, longest_);
    return pause;
  }
  // Restarts with the first pause.
  void Reset() { next_ = first_; }

 private:
  const absl::Duration first_;
  const absl::Duration longest_;
  absl::Duration next_;
};

// A number in [0, 1) for Backoff::Next. Any thread.
inline double RandomFraction() {
  thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_BACKOFF_H_
