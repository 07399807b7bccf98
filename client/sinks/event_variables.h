#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The environment variables that describe an event to a command, such as VMEVENTS_TYPE. Every event
// has all of them; a variable is empty if the event has no such field. No value contains a NUL.
// Pure.
std::vector<std::pair<std::string, std::string>> EventVariables(const v1::Event& event,
                                                                const MessageNode& node);

}  // namespace vmeventd::client
