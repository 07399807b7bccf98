#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "watcher/signals/signal_trace.h"
#include "watcher/signals/trace_records.h"

namespace vmeventd {

// A trace, or for people why there is none; empty: nobody asked for one.
struct SignalTracing {
  std::shared_ptr<SignalTrace> trace;
  std::string problem = {};
};

// Records by programs (BPF) at the kernel's tracepoints signal:signal_generate,
// signal:signal_deliver and oom:mark_victim, which write into one ring for all processors. It goes
// on for as long as somebody holds its descriptors, also where nobody reads it.
class BpfTrace : public SignalTrace {
 public:
  // Begins to record. The error says for people why it cannot: no tracefs, a capability is missing,
  // a PID namespace other than the host's. It needs CAP_BPF and CAP_PERFMON, and none afterwards.
  // `root` stands before every path, for tests.
  static absl::StatusOr<std::unique_ptr<BpfTrace>> Begin(const std::string& root = "");
  // Goes on with one that another process began, by its descriptors(). It needs CAP_BPF.
  // INVALID_ARGUMENT: they are not those of such a trace.
  static absl::StatusOr<std::unique_ptr<BpfTrace>> GoOn(std::vector<UniqueFd> descriptors);
  ~BpfTrace() override;

  std::vector<int> descriptors() const;

  int fd() const override { return ring_.get(); }
  void Read(std::vector<SignalRecord>* out) override;
  uint64_t lost() const override;

 private:
  struct Maps;

  BpfTrace(UniqueFd ring, UniqueFd counters, std::vector<UniqueFd> events,
           std::unique_ptr<Maps> maps);
  static absl::StatusOr<std::unique_ptr<BpfTrace>> Map(UniqueFd ring, UniqueFd counters,
                                                       std::vector<UniqueFd> events);

  const UniqueFd ring_;
  const UniqueFd counters_;
  const std::vector<UniqueFd> events_;  // attach the programs
  const std::unique_ptr<Maps> maps_;    // memory of the first two
  const uint64_t told_before_;          // losses reported by earlier daemons
  RingReader reader_;
  std::vector<SignalRecord> waiting_;  // kills of what may be a thread, whose process is not known
};

}  // namespace vmeventd
