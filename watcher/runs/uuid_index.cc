#include "watcher/runs/uuid_index.h"

#include "absl/strings/ascii.h"

namespace vmeventd {

std::optional<Uuid> ParseUuid(absl::string_view text) {
  constexpr size_t kLength = 36;
  if (text.size() != kLength) return std::nullopt;
  uint64_t halves[2] = {0, 0};
  int digits = 0;
  for (size_t i = 0; i < kLength; ++i) {
    const char c = absl::ascii_tolower(static_cast<unsigned char>(text[i]));
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    const int value = c <= '9' ? c - '0' : c - 'a' + 10;
    uint64_t& half = halves[digits++ / 16];
    half = (half << 4) | static_cast<uint64_t>(value);
  }
  return Uuid(halves[0], halves[1]);
}

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

VmRun* UuidIndex::OtherUser(const Uuid& uuid, const VmRun* run) const {
  const auto shared = shared_.find(uuid);
  if (shared == shared_.end() || shared->second.size() != 2) return nullptr;
  for (VmRun* user : shared->second) {
    if (user != run) return user;
  }
  return nullptr;
}

}  // namespace vmeventd
