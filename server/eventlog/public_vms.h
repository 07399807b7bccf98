#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/events/vm_record.h"
#include "server/events/vm_registry.h"
#include "server/events/vm_snapshot.h"

namespace vmeventd {

// The VMs as the newest public event left them, and the snapshots of them that streams still send.
// Pure; its owner locks.
class PublicVms {
 public:
  // Maximum number of snapshots in use. Beyond it, Snapshot() returns the latest of them.
  static constexpr size_t kMaxSnapshots = 64;
  // A snapshot, and the sequence of the event after which a stream that begins with it continues.
  struct Start {
    VmSnapshotPtr snapshot;
    uint64_t cursor = 0;
  };

  void Put(std::vector<VmRecordPtr> vms);
  const VmRegistry& registry() const { return registry_; }
  // Returns the VMs as they are at `newest`, the newest public sequence; or a snapshot that is
  // older, with its sequence.
  Start Snapshot(uint64_t newest) const;

 private:
  VmRegistry registry_;
  uint64_t version_ = 0;  // grows with each change
  mutable std::vector<std::weak_ptr<const VmSnapshot>> snapshots_;
};

}  // namespace vmeventd
