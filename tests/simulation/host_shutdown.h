#pragma once

#include "tests/simulation/kernel.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd::simulation {

// The source from which one daemon learns of the shutdown of the simulated host. `kernel` outlives
// it.
class HostShutdown : public HostShutdownApi {
 public:
  explicit HostShutdown(Kernel* kernel) : kernel_(kernel), fd_(kernel->WatchHostShutdown()) {}
  ~HostShutdown() override { kernel_->Close(fd_); }

  int fd() const override { return fd_; }
  HostShutdownState Read() override {
    return {.known = true, .shutting_down = kernel_->AskHostShutdown(), .by = "systemd-logind"};
  }

 private:
  Kernel* const kernel_;
  const int fd_;
};

}  // namespace vmeventd::simulation
