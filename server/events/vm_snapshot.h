#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "server/events/vm_record.h"

namespace vmeventd {

// The known VMs, stopped ones too, in order, at a sequence. Immutable.
struct VmSnapshot {
  std::vector<VmRecordPtr> vms;
  uint64_t sequence = 0;
  uint64_t version = 0;  // grows with each change of a VM
};
using VmSnapshotPtr = std::shared_ptr<const VmSnapshot>;

}  // namespace vmeventd
