#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/output/message_node.h"

namespace vmeventd::client {

// The number of events with a key.
struct NodeCount {
  std::string key;
  uint64_t events = 0;
  MessageNode node;
};
using NodeCounts = std::vector<NodeCount>;

}  // namespace vmeventd::client
