#pragma once

#include <algorithm>

#include "absl/time/time.h"

namespace vmeventd {

// Rate and size of a token bucket: `per_second` in the long run, `burst` at once.
struct TokenRate {
  double per_second;
  double burst;
};

// A token bucket that begins full: `burst` tokens at once, `per_second` in the long run. Times are
// on the monotonic clock; a time that goes back adds no tokens. One thread.
class TokenBucket {
 public:
  constexpr TokenBucket(double burst, double per_second)
      : burst_(burst), per_second_(per_second), tokens_(burst) {}
  explicit constexpr TokenBucket(const TokenRate& rate)
      : TokenBucket(rate.burst, rate.per_second) {}

  // Returns the tokens left; negative: a debt.
  double Available(absl::Duration now) const {
    if (now <= filled_at_) return tokens_;
    return std::min(burst_, tokens_ + absl::ToDoubleSeconds(now - filled_at_) * per_second_);
  }
  bool Has(absl::Duration now) const { return Available(now) >= 1; }
  bool IsFull(absl::Duration now) const { return Available(now) >= burst_; }

  // Takes a token. If there is none, it becomes a debt (at most `burst`), which new tokens pay off
  // first.
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
  // Takes `amount` tokens for what was used already. Missing ones become a debt without limit.
  // Returns the time until it is paid; zero: there is none.
  absl::Duration Charge(double amount, absl::Duration now) {
    tokens_ = Available(now) - amount;
    filled_at_ = std::max(filled_at_, now);
    return TimeUntil(0);
  }
  // Takes a token, and returns zero; or the time until there is one.
  absl::Duration TakeOrWait(absl::Duration now) {
    if (Take(now)) return absl::ZeroDuration();
    Charge(0, now);
    return TimeUntil(1);
  }

 private:
  // Returns the time from `filled_at_` until there are so many tokens.
  absl::Duration TimeUntil(double tokens) const {
    return tokens_ >= tokens ? absl::ZeroDuration()
                             : absl::Seconds((tokens - tokens_) / per_second_);
  }

  double burst_;
  double per_second_;
  double tokens_;  // at `filled_at_`
  absl::Duration filled_at_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd
