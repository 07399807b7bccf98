#pragma once

#include "client/connect/stop_source.h"

namespace vmeventd::client {

// Returns a source that is stopped by SIGINT, SIGTERM or SIGHUP, when the reader of `output` goes
// away (even while nothing is written), or when a q is read from `keys`. Each descriptor may be -1.
// A later signal ends the process at once.
//
// Call it once, before any thread starts: it blocks the signals for later threads. It runs its own
// thread until the process ends.
StopSource& StopBySignals(int output, int keys = -1);

}  // namespace vmeventd::client
