#include "server/events/vm_registry.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <tuple>
#include <utility>

#include "server/events/event_codec.h"

namespace vmeventd {
bool operator<(const VmKey& a, const VmKey& b) {
  return std::tie(a.name, a.run_id, a.path) < std::tie(b.name, b.run_id, b.path);
}

VmRecord::VmRecord(const v1::Vm& vm)
    : encoded_(EncodeSnapshotVmField(vm)),
      name_(vm.ref().name()),
      run_id_(vm.ref().run_id()),
      path_(vm.monitor_path()),
      source_(vm.ref().source()),
      uuid_(ParseUuid(vm.ref().uuid())),
      state_(vm.state()),
      has_problems_(vm.problems_size() > 0),
      last_sequence_(vm.last_sequence()) {}

void VmRegistry::Forget(const VmKey& key) {
  const auto found = records_.find(key);
  if (found == records_.end()) return;
  stopped_.erase({(*found)->last_sequence(), *found});
  records_.erase(found);
}

void VmRegistry::Put(VmRecordPtr record) {
  Forget(record->key());
  if (!record->run_id().empty()) Forget({record->name(), "", record->path()});
  records_.insert(record);
  if (record->stopped()) stopped_.emplace(record->last_sequence(), std::move(record));
  if (stopped_.size() > max_stopped_) Forget(stopped_.begin()->second->key());
}

std::vector<VmRecordPtr> VmRegistry::Named(absl::string_view name) const {
  std::vector<VmRecordPtr> out;
  for (auto it = records_.lower_bound(VmKey{name, "", ""});
       it != records_.end() && (*it)->name() == name; ++it) {
    out.push_back(*it);
  }
  return out;
}

std::vector<VmRecordPtr> VmRegistry::WithUuid(const Uuid& uuid) const {
  std::vector<VmRecordPtr> out;
  std::copy_if(records_.begin(), records_.end(), std::back_inserter(out),
               [&uuid](const VmRecordPtr& record) { return record->uuid() == uuid; });
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
  return {after == nullptr ? records_.begin() : records_.upper_bound(*after), records_.end()};
}

}  // namespace vmeventd
