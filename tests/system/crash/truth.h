#pragma once

#include "tests/system/crash/history.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::crash {

// The class of the run's end, had everything been seen. What follows from less is the simulation's
// to judge: tests/simulation/reference.h.
v1::ShutdownClass TrueClass(const RunHistory& run);

}  // namespace vmeventd::crash
