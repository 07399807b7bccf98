#pragma once

#include <string>

#include "client/output/message_node.h"
#include "client/output/node_event.h"
#include "client/output/watch_position.h"

namespace vmeventd::client {

// A GAP that is in no journal. It has no sequence; `missing` begins after the position and has no
// end. Does not move the position.
NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why);

}  // namespace vmeventd::client
