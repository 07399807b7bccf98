#pragma once

#include "absl/status/status.h"
#include "client/doctor/node_facts.h"

namespace vmeventd::client {

// Adds the facts of this node after its daemon has answered. Does not connect to any socket. An
// error names what could not be read.
absl::Status ReadNode(NodeFacts* facts);

}  // namespace vmeventd::client
