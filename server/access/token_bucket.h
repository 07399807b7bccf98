#ifndef VMEVENTD_SERVER_ACCESS_TOKEN_BUCKET_H_
#define VMEVENTD_SERVER_ACCESS_TOKEN_BUCKET_H_

#include <algorithm>

#include "absl/time/time.h"

namespace vmeventd {

// What a token bucket gives: `per_second` in the long run, `burst` at once.
struct TokenRate {
  double per_second;
  double burst;
};

// A token bucket that begins full. Times are monotonic. One thread.
class Budget {
 public:
  Budget(const TokenRate* rate, absl::Duration now)
      : rate_(rate), tokens_(rate->burst), filled_at_(now) {}

  double Available(absl::Duration now) const {
    return std::min(rate_->burst,
                    tokens_ + rate_->per_second * absl::ToDoubleSeconds(now - filled_at_));
  }
  bool IsFull(absl::Duration now) const { return Available(now) >= rate_->burst; }

  // Zero, and one token less; or the time until there is one.
  absl::Duration Take(absl::Duration now) {
    Fill(now);
    if (tokens_ < 1) return absl::Seconds((1 - tokens_) / rate_->per_second);
    tokens_ -= 1;
    return absl::ZeroDuration();
  }
  // Takes `amount`, which has been used already, even below none. Returns the time until the debt
  // is paid, zero where there is none.
  absl::Duration Spend(double amount, absl::Duration now) {
    Fill(now);
    tokens_ -= amount;
    return tokens_ >= 0 ? absl::ZeroDuration() : absl::Seconds(-tokens_ / rate_->per_second);
  }

 private:
  void Fill(absl::Duration now) {
    tokens_ = Available(now);
    filled_at_ = now;
  }

  const TokenRate* rate_;  // outlives the bucket
  double tokens_;
  absl::Duration filled_at_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_TOKEN_BUCKET_H_
