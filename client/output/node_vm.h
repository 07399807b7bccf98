#pragma once

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// A VM as lists deliver it, with its node, no matter whether one server, several servers or a fleet
// was asked.
struct NodeVm {
  v1::Vm vm;
  MessageNode node;
  // Only in a list with one row for each VM: the number of its runs that have ended, and how the
  // newest of them ended.
  std::optional<int> ends = {};
  v1::ShutdownDetail last_end = {};
  absl::Time last_end_time = absl::InfinitePast();

  // Returns the end to show with the VM; null: none.
  const v1::ShutdownDetail* end() const {
    if (vm.has_shutdown()) return &vm.shutdown();
    return ends.value_or(0) > 0 ? &last_end : nullptr;
  }
};
using NodeVms = std::vector<NodeVm>;

}  // namespace vmeventd::client
