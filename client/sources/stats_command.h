#pragma once

#include "client/sources/events_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Counts of events.
struct StatsCommand {
  EventsCommand events;  // the events to count; without limits. Default: only STOPPED
  v1::CountKey by = v1::COUNT_KEY_WHO;
  bool by_node = false;  // one count for each node, instead of `by`
  bool csv = false;
};

}  // namespace vmeventd::client
