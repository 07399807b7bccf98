#include "client/connect/silence_guard.h"

#include <chrono>
#include <utility>

namespace vmeventd::client {

SilenceGuard::SilenceGuard(absl::Duration limit, std::shared_ptr<grpc::ClientContext> call)
    : limit_(absl::ToChronoNanoseconds(limit)),
      call_(std::move(call)),
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
  deadline_ = std::chrono::steady_clock::now() + limit_;
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
    const auto now = std::chrono::steady_clock::now();
    if (armed_ && now >= deadline_) {
      fired_ = true;
      lock.unlock();
      call_->TryCancel();
      return;
    }
    changed_.wait_until(lock, armed_ ? deadline_ : now + limit_);
  }
}

}  // namespace vmeventd::client
