#include "server/rate_limiter.h"

#include <algorithm>

namespace vmeventd {

double RateLimiter::TokensNow(const Bucket& bucket, absl::Duration now) const {
  return std::min(burst_,
                  bucket.tokens + per_second_ * absl::ToDoubleSeconds(now - bucket.filled_at));
}

RateLimiter::Bucket& RateLimiter::Find(const std::string& key, absl::Duration now) {
  const Bucket full{burst_, now};
  if (const auto found = buckets_.find(key); found != buckets_.end()) return found->second;
  if (buckets_.size() >= max_keys_) {
    // A full bucket is as good as none.
    absl::erase_if(buckets_, [this, now](const auto& entry) {
      return TokensNow(entry.second, now) >= burst_;
    });
  }
  const bool room = buckets_.size() < max_keys_;
  return buckets_.try_emplace(room ? key : "", full).first->second;
}

absl::Duration RateLimiter::Take(const std::string& key, absl::Duration now) {
  const MutexLock lock(&mutex_);
  Bucket& bucket = Find(key, now);
  bucket = {TokensNow(bucket, now), now};
  if (bucket.tokens < 1) return absl::Seconds((1 - bucket.tokens) / per_second_);
  bucket.tokens -= 1;
  return absl::ZeroDuration();
}

}  // namespace vmeventd
