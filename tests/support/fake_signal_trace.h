#pragma once

#include <sys/eventfd.h>

#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// A SignalTrace whose records a test writes. One thread.
class FakeSignalTrace : public SignalTrace {
 public:
  // The loop wakes for it, unless `silent`.
  void Record(SignalRecord record, bool silent = false) {
    records_.push_back(std::move(record));
    if (!silent) eventfd_write(fd_.get(), 1);
  }
  // The kernel says it at once, or only when it is asked.
  void Lose(uint64_t count, bool silent = false) { (silent ? lost_unsaid_ : lost_) += count; }

  int fd() const override { return fd_.get(); }
  void Read(std::vector<SignalRecord>* out) override {
    ++reads;
    eventfd_t ignored = 0;
    eventfd_read(fd_.get(), &ignored);
    for (SignalRecord& record : std::exchange(records_, {})) out->push_back(std::move(record));
  }
  uint64_t lost() const override { return lost_; }
  uint64_t CountLost() override { return lost_ += std::exchange(lost_unsaid_, 0); }
  void FollowProcessors() override { ++looks; }
  std::string problem() const override { return processors_problem; }

  std::string processors_problem;
  int reads = 0;
  int looks = 0;

 private:
  UniqueFd fd_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::vector<SignalRecord> records_;
  uint64_t lost_ = 0;
  uint64_t lost_unsaid_ = 0;
};

}  // namespace vmeventd
