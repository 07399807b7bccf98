#ifndef VMEVENTD_WATCHER_RUNS_UUID_INDEX_H_
#define VMEVENTD_WATCHER_RUNS_UUID_INDEX_H_

#include <cstddef>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/uuid.h"

namespace vmeventd {

class VmRun;

// Which live runs use a UUID, to find those that share one. Each step takes constant time,
// whatever the number of runs that share it. Loop thread.
class UuidIndex {
 public:
  // Adds or removes a user. Returns the runs for which it changed what OtherUser and UserCount
  // say, but for `run` itself.
  std::vector<VmRun*> Add(const Uuid& uuid, VmRun* run);
  std::vector<VmRun*> Remove(const Uuid& uuid, VmRun* run);

  size_t UserCount(const Uuid& uuid) const;
  std::vector<VmRun*> UsersOf(const Uuid& uuid) const;
  // The other one, where there are two.
  VmRun* OtherUser(const Uuid& uuid, const VmRun* run) const;

 private:
  using Users = absl::flat_hash_set<VmRun*>;

  absl::flat_hash_map<Uuid, VmRun*> single_;  // used by one
  absl::flat_hash_map<Uuid, Users> shared_;   // used by more
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_UUID_INDEX_H_
