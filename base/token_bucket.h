#ifndef VMEVENTD_BASE_TOKEN_BUCKET_H_
#define VMEVENTD_BASE_TOKEN_BUCKET_H_

#include <algorithm>

#include "absl/time/time.h"

namespace vmeventd {

// A token bucket that begins full: `burst` tokens at once, `per_second` in the long run. Times are
// on the monotonic clock; one that goes back earns nothing. One thread.
class TokenBucket {
 public:
  constexpr TokenBucket(double burst, double per_second)
      : burst_(burst), per_second_(per_second), tokens_(burst) {}

  // Negative: so many are owed.
  double Available(absl::Duration now) const {
    if (now <= filled_at_) return tokens_;
    return std::min(burst_, tokens_ + absl::ToDoubleSeconds(now - filled_at_) * per_second_);
  }
  bool Has(absl::Duration now) const { return Available(now) >= 1; }
  bool IsFull(absl::Duration now) const { return Available(now) >= burst_; }

  // Takes a token. Without one it becomes a debt, of at most `burst`, that is paid off first.
  void Spend(absl::Duration now) {
    tokens_ = std::max(-burst_, Available(now) - 1);
    filled_at_ = std::max(filled_at_, now);
  }
  // Takes a token if there is one.
  bool Take(absl::Duration now) {
    if (!Has(now)) return false;
    Spend(now);
    return true;
  }

 private:
  double burst_;
  double per_second_;
  double tokens_;  // at `filled_at_`
  absl::Duration filled_at_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_TOKEN_BUCKET_H_
