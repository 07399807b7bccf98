#pragma once

#include <cstdint>
#include <vector>

#include "tests/simulation/kernel.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd::simulation {

// The records of signals that the simulated kernel has for one daemon, which goes on with those
// that the service manager has kept. `kernel` outlives it.
class SignalRings : public SignalTrace {
 public:
  explicit SignalRings(Kernel* kernel)
      : kernel_(kernel),
        fd_(kernel->KeptTrace() >= 0 ? kernel->KeptTrace() : kernel->TraceSignals()) {}
  ~SignalRings() override {
    if (kernel_->KeptTrace() != fd_) kernel_->Close(fd_);
  }

  int fd() const override { return fd_; }
  void Read(std::vector<SignalRecord>* out) override { kernel_->ReadSignals(out); }
  uint64_t lost() const override { return 0; }

 private:
  Kernel* const kernel_;
  const int fd_;
};

}  // namespace vmeventd::simulation
