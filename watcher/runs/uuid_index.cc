#include "watcher/runs/uuid_index.h"

namespace vmeventd {

std::vector<VmRun*> UuidIndex::Add(const Uuid& uuid, VmRun* run) {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end()) {
    const auto [single, added] = single_.try_emplace(uuid, run);
    if (added || single->second == run) return {};
    VmRun* const other = single->second;
    shared_[uuid] = {other, run};
    single_.erase(single);
    return {other};
  }
  Users& users = shared->second;
  if (!users.insert(run).second) return {};
  if (users.size() > 3) return {};
  // From two to three: the two had named each other.
  std::vector<VmRun*> changed(users.begin(), users.end());
  std::erase(changed, run);
  return changed;
}

std::vector<VmRun*> UuidIndex::Remove(const Uuid& uuid, VmRun* run) {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end()) {
    const auto single = single_.find(uuid);
    if (single != single_.end() && single->second == run) single_.erase(single);
    return {};
  }
  Users& users = shared->second;
  if (users.erase(run) == 0 || users.size() > 2) return {};
  std::vector<VmRun*> changed(users.begin(), users.end());
  if (users.size() == 1) {
    single_[uuid] = *users.begin();
    shared_.erase(shared);
  }
  return changed;
}

size_t UuidIndex::UserCount(const Uuid& uuid) const {
  const auto shared = shared_.find(uuid);
  return shared != shared_.end() ? shared->second.size() : single_.count(uuid);
}

std::vector<VmRun*> UuidIndex::UsersOf(const Uuid& uuid) const {
  const auto shared = shared_.find(uuid);
  if (shared != shared_.end()) return {shared->second.begin(), shared->second.end()};
  const auto single = single_.find(uuid);
  return single == single_.end() ? std::vector<VmRun*>() : std::vector<VmRun*>{single->second};
}

VmRun* UuidIndex::OtherUser(const Uuid& uuid, const VmRun* run) const {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end() || shared->second.size() != 2) return nullptr;
  for (VmRun* user : shared->second) {
    if (user != run) return user;
  }
  return nullptr;
}

}  // namespace vmeventd
