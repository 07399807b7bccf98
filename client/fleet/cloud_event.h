#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

// The attributes of an event as a CloudEvent. Pure.

namespace vmeventd::client {

// The CloudEvents attribute "id": the sequence, or "gap-after-SEQUENCE" for a GAP that is in no
// journal.
std::string IdOf(const v1::Event& event);
// The CloudEvents attribute "source"; together with the id it is unique forever. The cluster of a
// node that is read directly is empty.
std::string SourceOf(const MessageNode& node);
// All attributes of the CloudEvent, as name and value; an event of a whole node has no "subject".
std::vector<std::pair<std::string, std::string>> CloudEventOf(const v1::Event& event,
                                                              const MessageNode& node);

}  // namespace vmeventd::client
