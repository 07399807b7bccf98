#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/token_bucket.h"

namespace vmeventd {

// Bounds what one user's sockets, or one of several directories, may take of the descriptors for
// runs: three quarters. Loop thread.
class RunShares {
 public:
  static constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

  // `max` descriptors in all, of `directories` directories.
  RunShares(int max, size_t directories)
      : share_(max - max / 4), several_directories_(directories >= 2) {}

  // Returns whether another run of `owner` leaves enough to others.
  bool HasRoom(uint32_t owner, int directory) const {
    return Left(owner, directory) >= kDescriptorsOfRun;
  }
  // Returns the number of descriptors that both may still take; negative after what is known of
  // them has changed.
  int Left(uint32_t owner, int directory) const {
    const int left = share_ - Used(owners_, owner);
    return several_directories_ ? std::min(left, share_ - Used(directories_, directory)) : left;
  }
  // Adds `change` descriptors to what both have.
  void Count(uint32_t owner, int directory, int change) {
    Count(&owners_, owner, change);
    Count(&directories_, directory, change);
  }

 private:
  template <typename Key>
  static int Used(const absl::flat_hash_map<Key, int>& descriptors, Key key) {
    const auto it = descriptors.find(key);
    return it == descriptors.end() ? 0 : it->second;
  }
  template <typename Key>
  static void Count(absl::flat_hash_map<Key, int>* descriptors, Key key, int change) {
    const auto it = descriptors->try_emplace(key).first;
    it->second += change;
    if (it->second == 0) descriptors->erase(it);
  }

  const int share_;
  const bool several_directories_;
  absl::flat_hash_map<uint32_t, int> owners_;
  absl::flat_hash_map<int, int> directories_;
};

// Limit of the runs that the sockets of one user may begin: kBurst at once, more than a node has
// VMs, and then kPerSecond, so that sockets that come and go do not push the node's history out of
// its journal. Of more than kMaxOwners users the rest share one allowance. Loop thread.
class RunLimiter {
 public:
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;
  static constexpr size_t kMaxOwners = 1024;

  // Returns whether `owner` may begin one at `now`, which never goes back.
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
