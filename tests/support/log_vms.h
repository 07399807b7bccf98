#pragma once

#include <cstdint>
#include <vector>

#include "server/eventlog/event_log.h"
#include "server/events/vm_record.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

// All VMs that the log knows, in order; FindVm(): one of them, or null.
inline std::vector<VmRecordPtr> VmsIn(const EventLog& log) {
  return log.Vms([](const VmRegistry& vms, uint64_t) { return vms.ListAfter(nullptr); });
}
inline VmRecordPtr FindVm(const EventLog& log, const VmKey& key) {
  return log.Vms([&](const VmRegistry& vms, uint64_t) { return vms.Find(key); });
}

}  // namespace vmeventd
