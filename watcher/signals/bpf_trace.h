#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "watcher/signals/signal_trace.h"

struct TraceRecord;

namespace vmeventd {

// Begins to record, by programs (BPF) at the kernel's tracepoints signal:signal_generate and
// oom:mark_victim, which write into one ring for all processors. They run for as long as a
// process holds the descriptors, even if none reads the ring. The problem says why they cannot run:
// a missing capability, a kernel without BTF, or a PID namespace other than the host's. Needs
// CAP_BPF and CAP_PERFMON, and no capability afterwards. `root` stands before every path, for
// tests.
SignalTracing BeginTrace(const std::string& root = "");
// Resumes a trace that another process began, by its descriptors(). It needs CAP_BPF.
// INVALID_ARGUMENT: they are not the descriptors of a trace.
absl::StatusOr<std::unique_ptr<SignalTrace>> ResumeTrace(std::vector<UniqueFd> descriptors);
// Converts a record of the kernel's programs.
SignalRecord Decode(const TraceRecord& record);

}  // namespace vmeventd
