#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The UUIDs of the VMs that have one name in one place. Two of different UUIDs are two VMs; what
// has none is of the one that the place knows, as QEMU reports its UUID some time after its start.
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
  // Returns the VM's UUID, where a run of it has `uuid`; empty: it has none, or is one of several.
  std::string Of(const Place& place, const std::string& uuid) const {
    const auto known = uuids_.find(place);
    const bool is_only = known != uuids_.end() && known->second.size() == 1;
    return uuid.empty() && is_only ? *known->second.begin() : uuid;
  }

 private:
  std::map<Place, std::set<std::string>> uuids_;
};

}  // namespace vmeventd::client
