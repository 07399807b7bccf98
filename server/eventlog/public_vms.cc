#include "server/eventlog/public_vms.h"

#include <utility>

namespace vmeventd {

void PublicVms::Put(std::vector<VmRecordPtr> vms) {
  if (!vms.empty()) ++version_;
  for (VmRecordPtr& vm : vms) registry_.Put(std::move(vm));
}

PublicVms::Start PublicVms::Snapshot(uint64_t newest) const {
  std::erase_if(snapshots_, [](const auto& snapshot) { return snapshot.expired(); });
  VmSnapshotPtr latest = snapshots_.empty() ? nullptr : snapshots_.back().lock();
  if (latest != nullptr && latest->version == version_) return {latest, newest};
  if (latest == nullptr || snapshots_.size() < kMaxSnapshots) {
    latest = std::make_shared<const VmSnapshot>(
        VmSnapshot{registry_.ListAfter(nullptr), newest, version_});
    snapshots_.push_back(latest);
  }
  return {latest, latest->sequence};
}

}  // namespace vmeventd
