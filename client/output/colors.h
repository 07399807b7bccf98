#pragma once

#include "client/output/painter.h"
#include "vmeventd/v1/vm_events.pb.h"

// The colours of states and classes. Pure.

namespace vmeventd::client {

Color ColorOf(v1::VmState state);
Color ColorOf(v1::ShutdownClass shutdown_class);

}  // namespace vmeventd::client
