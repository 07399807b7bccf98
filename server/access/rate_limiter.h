#ifndef VMEVENTD_SERVER_ACCESS_RATE_LIMITER_H_
#define VMEVENTD_SERVER_ACCESS_RATE_LIMITER_H_

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/token_bucket.h"

namespace vmeventd {

// A token bucket for each key: `per_second` in the long run, `burst` at once. Keeps at most
// `max_keys` buckets; those beyond share one, so that many keys are no way around the limit. Any
// thread.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst, size_t max_keys)
      : rate_{per_second, burst}, max_keys_(max_keys) {}

  // Zero: it may happen now, and is counted. Else the time until it may. `now` is monotonic.
  absl::Duration Take(const std::string& key, absl::Duration now);
  // Counts `amount`, which has happened. Returns the time until more of it may happen.
  absl::Duration Spend(const std::string& key, double amount, absl::Duration now);

 private:
  TokenBucket& Find(const std::string& key, absl::Duration now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TokenRate rate_;
  const size_t max_keys_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, TokenBucket> buckets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_RATE_LIMITER_H_
