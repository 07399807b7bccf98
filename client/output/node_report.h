#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/output/message_node.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The state of a node, as it reports it.
struct NodeReport {
  MessageNode node;
  // The reason why the node does not answer or is silent; the members below then have what is still
  // known. Safe for a terminal; empty: the node is up.
  std::string problem;
  v1::GetServerInfoResponse info;  // for a fleet's node: the content of its heartbeat
  // Number of sequences of a fleet's node that are not published yet.
  std::optional<uint64_t> lag;
  NodeVms vms;           // VMs that have not stopped
  NodeEvents ends;       // STOPPED events since the requested time
  bool all_ends = true;  // false: there are more, older ends
  // `unread`: why the ends are not known. `unhealthy`: why a service does not serve. Safe for a
  // terminal; empty: no fault.
  std::string unread;
  std::string unhealthy;
  absl::Duration answer_time;
};
using NodeReports = std::vector<NodeReport>;

}  // namespace vmeventd::client
