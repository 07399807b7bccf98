#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// A trace, or for people why there is none; empty: nobody asked for one.
struct SignalTracing {
  std::shared_ptr<SignalTrace> trace;
  std::string problem = {};
};

// Begins to record by perf_event_open(2), a ring of memory a processor, from the tracepoints
// signal:signal_generate and oom:mark_victim. The error says for people why it cannot: no tracefs,
// CAP_PERFMON is missing, a PID namespace other than the host's. The kernel filters the signals.
// After that it needs no capability: a process of its own keeps CAP_PERFMON for processors that
// come later (trace_events.h). Call it before other threads start. `root` stands before every path,
// for tests.
absl::StatusOr<std::unique_ptr<SignalTrace>> OpenPerfTrace(const std::string& root = "");

}  // namespace vmeventd
