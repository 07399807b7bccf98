#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The UUIDs of the VMs that have the same name in the same place. Different UUIDs mean different
// VMs. A run without a UUID belongs to the VM with the only known UUID of the place, because QEMU
// reports its UUID some time after its start.
class VmUuids {
 public:
  // A VM's name, cluster, node and source.
  using Place = std::tuple<std::string, std::string, std::string, std::string>;
  static Place PlaceOf(const v1::VmRef& vm, const MessageNode& node) {
    return {vm.name(), node.cluster, node.name, vm.source()};
  }
  void Add(const Place& place, const std::string& uuid) {
    if (!uuid.empty()) uuids_[place].insert(uuid);
  }
  // Returns the UUID of the VM to which a run with `uuid` belongs; empty: the VM has none, or it
  // may be one of several VMs.
  std::string Of(const Place& place, const std::string& uuid) const {
    const auto known = uuids_.find(place);
    const bool is_only = known != uuids_.end() && known->second.size() == 1;
    return uuid.empty() && is_only ? *known->second.begin() : uuid;
  }

 private:
  std::map<Place, std::set<std::string>> uuids_;
};

}  // namespace vmeventd::client
