#pragma once

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/token_bucket.h"

namespace vmeventd {

// A token bucket for each key: `per_second` in the long run, `burst` at once. Stores at most
// `max_keys` buckets; further keys share one, so that many keys do not evade the limit. Any thread.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst, size_t max_keys)
      : rate_{per_second, burst}, max_keys_(max_keys) {}

  // Returns zero and counts the event if it is permitted now; else the time until it is. `now` is
  // monotonic.
  absl::Duration Take(const std::string& key, absl::Duration now);

 private:
  const TokenRate rate_;
  const size_t max_keys_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, TokenBucket> buckets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
