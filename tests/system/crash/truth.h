#pragma once

#include <set>
#include <vector>

#include "tests/system/crash/history.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::crash {

// The classes that the STOPPED of `run` may have, if life `stopped_life` of the daemon observed it
// and the journal has the run's `events`.
//
// What that life saw it must have judged correctly, and what the journal shows it must have
// remembered. Everything else may or may not have been seen: each resulting class is allowed, and
// so is UNKNOWN if the end itself may have been missed.
std::set<v1::ShutdownClass> AllowedClasses(const RunHistory& run, int stopped_life,
                                           const std::vector<const v1::Event*>& events);

// The class of the run's end, had everything been seen.
v1::ShutdownClass TrueClass(const RunHistory& run);

}  // namespace vmeventd::crash
