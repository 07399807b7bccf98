#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/system.h"
#include "watcher/signals/signal_watch.h"

struct ring_buffer;
struct TraceCounts;
struct TraceRecord;

namespace vmeventd {

// A trace, or for people why there is none; empty: nobody asked for one.
struct SignalTracing {
  std::shared_ptr<SignalTrace> trace;
  std::string problem = {};
};

// Records by programs (BPF) at the kernel's tracepoints signal:signal_generate and oom:mark_victim,
// which write into one ring for all processors. They run for as long as somebody holds the
// descriptors, also where nobody reads the ring.
class BpfTrace : public SignalTrace {
 public:
  // Begins to record. The error says for people why it cannot: a capability is missing, the kernel
  // has no BTF, a PID namespace other than the host's. It needs CAP_BPF and CAP_PERFMON, and none
  // afterwards. `root` stands before every path, for tests.
  static absl::StatusOr<std::unique_ptr<BpfTrace>> Begin(const std::string& root = "");
  // Continues one that another process began, by its descriptors(). It needs CAP_BPF.
  // INVALID_ARGUMENT: they are not those of such a trace.
  static absl::StatusOr<std::unique_ptr<BpfTrace>> GoOn(std::vector<UniqueFd> descriptors);
  ~BpfTrace() override;

  // The ring, the counts, and a link for each program.
  std::vector<int> descriptors() const override;

  int fd() const override { return descriptors_[0].get(); }
  void Read(std::vector<SignalRecord>* out) override;
  uint64_t lost() const override;

 private:
  struct FreeRing {
    void operator()(ring_buffer* ring) const;
  };
  struct Unmap {
    void operator()(TraceCounts* counts) const;
  };

  BpfTrace(std::vector<UniqueFd> descriptors, std::unique_ptr<TraceCounts, Unmap> counts);
  static absl::StatusOr<std::unique_ptr<BpfTrace>> Map(std::vector<UniqueFd> descriptors);
  static int OnRecord(void* trace, void* data, size_t size);

  const std::vector<UniqueFd> descriptors_;
  const std::unique_ptr<TraceCounts, Unmap> counts_;
  const uint64_t reported_before_;  // losses reported by earlier daemons
  std::unique_ptr<ring_buffer, FreeRing> ring_;
  std::vector<SignalRecord>* out_ = nullptr;  // Read() appends to it
  size_t left_ = 0;                           // records that it still may read
};

// A record of the kernel's programs in the terms of SignalTrace.
SignalRecord Decode(const TraceRecord& record);

}  // namespace vmeventd
