#pragma once

#include <cstdint>

#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Adds to an event of the watcher its sequence and its VM in the state after the event; `vm` is
// null for an event of the node as a whole.
void CompleteEvent(const v1::Vm* vm, uint64_t sequence, v1::Event* event);

}  // namespace vmeventd
