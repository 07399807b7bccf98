#pragma once

#include <sys/eventfd.h>

#include <utility>
#include <vector>

#include "base/system.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

// A SignalTrace whose records a test writes. One thread.
class FakeSignalTrace : public SignalTrace {
 public:
  // The loop wakes for it, unless `silent`.
  void Record(SignalRecord record, bool silent = false) {
    records_.push_back(std::move(record));
    if (!silent) eventfd_write(fd_.get(), 1);
  }
  void Lose(uint64_t count) { lost_ += count; }

  int fd() const override { return fd_.get(); }
  void Read(std::vector<SignalRecord>* out) override {
    ++reads;
    eventfd_t ignored = 0;
    eventfd_read(fd_.get(), &ignored);
    for (SignalRecord& record : std::exchange(records_, {})) out->push_back(std::move(record));
  }
  uint64_t lost() const override { return lost_; }

  int reads = 0;

 private:
  UniqueFd fd_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::vector<SignalRecord> records_;
  uint64_t lost_ = 0;
};

}  // namespace vmeventd
