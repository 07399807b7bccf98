#ifndef VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_
#define VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/token_bucket.h"

namespace vmeventd {

// How many runs the sockets of one user may begin: kBurst at once, more than a node has VMs, and
// then kPerSecond, so that sockets that come and go do not push the node's history out of its
// journal. Of more than kMaxOwners users the rest share one allowance. Loop thread.
class RunLimiter {
 public:
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;
  static constexpr size_t kMaxOwners = 1024;

  // Whether `owner` may begin one at `now`, which never goes back.
  bool Admit(uint32_t owner, absl::Duration now) {
    const bool is_own = owners_.size() < kMaxOwners || owners_.contains(owner);
    TokenBucket& bucket =
        is_own ? owners_.try_emplace(owner, kBurst, kPerSecond).first->second : others_;
    return bucket.Take(now);
  }

 private:
  absl::flat_hash_map<uint32_t, TokenBucket> owners_;
  TokenBucket others_{kBurst, kPerSecond};
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_
