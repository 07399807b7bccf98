#include "server/events/vm_registry.h"

#include <utility>

namespace vmeventd {

void VmRegistry::Forget(const VmKey& key) {
  const auto found = records_.find(key);
  if (found == records_.end()) return;
  const VmRecordPtr record = found->second;  // which has the key
  stopped_.erase({record->last_sequence, record});
  records_.erase(found);
}

void VmRegistry::Put(VmRecordPtr record) {
  Forget(record->key());
  if (!record->run_id.empty()) Forget({record->name, "", record->path});
  records_.emplace(record->key(), record);
  if (record->stopped()) stopped_.emplace(record->last_sequence, std::move(record));
  if (std::ssize(stopped_) > kMaxStopped) Forget(stopped_.begin()->second->key());
}

std::vector<VmRecordPtr> VmRegistry::Named(absl::string_view name, std::optional<Uuid> uuid) const {
  std::vector<VmRecordPtr> out;
  for (auto it = records_.lower_bound(VmKey{name, "", ""});
       it != records_.end() && (name.empty() || it->first.name == name); ++it) {
    if (!uuid.has_value() || it->second->uuid == uuid) out.push_back(it->second);
  }
  return out;
}

std::vector<VmRecordPtr> VmRegistry::LastStopped(size_t limit) const {
  std::vector<VmRecordPtr> out;
  for (auto it = stopped_.rbegin(); it != stopped_.rend() && out.size() < limit; ++it) {
    out.push_back(it->second);
  }
  return out;
}

std::vector<VmRecordPtr> VmRegistry::ListAfter(const VmKey* after) const {
  std::vector<VmRecordPtr> out;
  auto it = after == nullptr ? records_.begin() : records_.upper_bound(*after);
  for (; it != records_.end(); ++it) out.push_back(it->second);
  return out;
}

}  // namespace vmeventd
