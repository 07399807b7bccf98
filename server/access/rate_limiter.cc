#include "server/access/rate_limiter.h"

namespace vmeventd {

absl::Duration RateLimiter::Take(const std::string& key, absl::Duration now) {
  const MutexLock lock(&mutex_);
  const bool is_known = buckets_.contains(key);
  if (!is_known && buckets_.size() >= max_keys_) {
    // A full bucket is as good as none.
    absl::erase_if(buckets_, [now](const auto& entry) { return entry.second.IsFull(now); });
  }
  const bool has_own = is_known || buckets_.size() < max_keys_;
  return buckets_.try_emplace(has_own ? key : "", rate_).first->second.TakeOrWait(now);
}

}  // namespace vmeventd
