#include "server/access/rate_limiter.h"

namespace vmeventd {

TokenBucket& RateLimiter::Find(const std::string& key, absl::Duration now) {
  if (const auto found = buckets_.find(key); found != buckets_.end()) return found->second;
  if (buckets_.size() >= max_keys_) {
    // A full bucket is as good as none.
    absl::erase_if(buckets_, [now](const auto& entry) { return entry.second.IsFull(now); });
  }
  const bool room = buckets_.size() < max_keys_;
  return buckets_.try_emplace(room ? key : "", rate_).first->second;
}

absl::Duration RateLimiter::Take(const std::string& key, absl::Duration now) {
  const MutexLock lock(&mutex_);
  return Find(key, now).TakeOrWait(now);
}

absl::Duration RateLimiter::Spend(const std::string& key, double amount, absl::Duration now) {
  const MutexLock lock(&mutex_);
  return Find(key, now).Charge(amount, now);
}

}  // namespace vmeventd
