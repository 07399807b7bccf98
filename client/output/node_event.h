#pragma once

#include <vector>

#include "client/output/message_node.h"
#include "client/output/watch_position.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// An event as lists and watches deliver it, with its node, no matter whether one server, several
// servers or a fleet was asked.
struct NodeEvent {
  v1::Event event;
  MessageNode node;
  // Position from which a later watch resumes after this event and all before it are handled. It
  // stays before any event that is not durable. Only a watch sets it.
  ServerPosition resume_after;
};
using NodeEvents = std::vector<NodeEvent>;

}  // namespace vmeventd::client
