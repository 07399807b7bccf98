#pragma once

#include "watcher/core/run_info.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/peer_process.h"

namespace vmeventd {

// Returns the facts that a run needs of `process`, which is tracked. Null `oom_counters`: nothing
// counts OOM kills.
ProcessInfo DescribeProcess(const PeerProcess& process, const OomCounters* oom_counters);

}  // namespace vmeventd
