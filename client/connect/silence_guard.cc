#include "client/connect/silence_guard.h"

#include <utility>

namespace vmeventd::client {

SilenceGuard::SilenceGuard(absl::Duration limit, std::shared_ptr<grpc::ClientContext> call,
                           std::function<absl::Time()> clock)
    : limit_(limit),
      call_(std::move(call)),
      clock_(std::move(clock)),
      thread_([this] { Watch(); }) {}

SilenceGuard::~SilenceGuard() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// The thread need not be woken: its deadline only moved later.
void SilenceGuard::Arm() {
  const std::lock_guard<std::mutex> lock(mutex_);
  deadline_ = clock_() + limit_;
  armed_ = true;
}

void SilenceGuard::Disarm() {
  const std::lock_guard<std::mutex> lock(mutex_);
  armed_ = false;
}

bool SilenceGuard::fired() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return fired_;
}

void SilenceGuard::Watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!done_) {
    const absl::Time now = clock_();
    if (armed_ && now >= deadline_) {
      fired_ = true;
      lock.unlock();
      call_->TryCancel();
      return;
    }
    changed_.wait_for(lock, absl::ToChronoNanoseconds(armed_ ? deadline_ - now : limit_));
  }
}

}  // namespace vmeventd::client
