#pragma once

#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// A stream as lists deliver it, with its node.
struct NodeStream {
  v1::Stream stream;
  MessageNode node;
};

}  // namespace vmeventd::client
