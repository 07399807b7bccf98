#ifndef VMEVENTD_WATCHER_QMP_RUN_SHARES_H_
#define VMEVENTD_WATCHER_QMP_RUN_SHARES_H_

#include <algorithm>
#include <cstdint>

#include "absl/container/flat_hash_map.h"

namespace vmeventd {

// Bounds what one user's sockets, or one of several directories, may take of the descriptors for
// runs: three quarters. Loop thread.
class RunShares {
 public:
  static constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

  // `max` descriptors in all, of `directories` directories.
  RunShares(int max, size_t directories)
      : share_(max - max / 4), several_directories_(directories >= 2) {}

  // Whether another run of `owner` leaves enough to others.
  bool HasRoom(uint32_t owner, int directory) const {
    return Left(owner, directory) >= kDescriptorsOfRun;
  }
  // How many descriptors both may take still; less than 0 after what was known of them changed.
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

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_RUN_SHARES_H_
