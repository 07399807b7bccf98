#ifndef VMEVENTD_TESTS_SYSTEM_CRASH_TRUTH_H_
#define VMEVENTD_TESTS_SYSTEM_CRASH_TRUTH_H_

#include <set>
#include <vector>

#include "tests/system/crash/history.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::crash {

// The classes that the STOPPED of `run` may have, given that the daemon's life number
// `stopped_life` observed it and that `events` are the run's events in the journal.
//
// What that life saw itself it must have judged right, and what the journal shows must have been
// kept. Everything else may have been seen or not: any of the resulting truths will do, and
// UNKNOWN where the end itself may have been missed.
std::set<v1::ShutdownClass> AllowedClasses(const RunHistory& run, int stopped_life,
                                           const std::vector<const v1::Event*>& events);

// What the run's end really was, had everything been seen.
v1::ShutdownClass TrueClass(const RunHistory& run);

}  // namespace vmeventd::crash

#endif  // VMEVENTD_TESTS_SYSTEM_CRASH_TRUTH_H_
