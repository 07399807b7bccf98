#ifndef VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_
#define VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

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
    Allowance& allowance =
        owners_.size() < kMaxOwners || owners_.contains(owner) ? owners_[owner] : others_;
    const double earned = absl::ToDoubleSeconds(now - allowance.at) * kPerSecond;
    allowance.left = std::min(kBurst, allowance.left + earned);
    allowance.at = now;
    if (allowance.left < 1) return false;
    allowance.left -= 1;
    return true;
  }

 private:
  struct Allowance {
    double left = kBurst;
    absl::Duration at;
  };
  absl::flat_hash_map<uint32_t, Allowance> owners_;
  Allowance others_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_RUN_LIMITER_H_
