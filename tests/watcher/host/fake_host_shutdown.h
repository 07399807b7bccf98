#pragma once

#include <sys/eventfd.h>

#include <utility>

#include "base/unique_fd.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {

// A HostShutdownApi that reports the state that the test sets. One thread.
class FakeHostShutdown : public HostShutdownApi {
 public:
  // The loop wakes for it, unless `silent`.
  void SetState(HostShutdownState state, bool silent = false) {
    state_ = std::move(state);
    if (!silent) eventfd_write(fd_.get(), 1);
  }

  int fd() const override { return fd_.get(); }
  HostShutdownState Read() override {
    eventfd_t ignored = 0;
    eventfd_read(fd_.get(), &ignored);
    return state_;
  }

 private:
  UniqueFd fd_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  HostShutdownState state_;
};

}  // namespace vmeventd
