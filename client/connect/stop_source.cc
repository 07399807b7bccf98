#include "client/connect/stop_source.h"

#include <utility>

namespace vmeventd::client {

void StopSource::Stop() {
  source_.request_stop();
  std::shared_ptr<grpc::ClientContext> call;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call = call_;
  }
  if (call != nullptr) call->TryCancel();
}

bool StopSource::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  stopping_.wait_for(lock, token(), absl::ToChronoNanoseconds(duration), [] { return false; });
  return stopped();
}

std::shared_ptr<grpc::ClientContext> StopSource::SetCall(
    std::shared_ptr<grpc::ClientContext> call) {
  std::shared_ptr<grpc::ClientContext> cancelled;
  {
    // Stop() reads the call after setting the stop: one of the two sees the other's write.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped()) cancelled = call;
    call_.swap(call);
  }
  if (cancelled != nullptr) cancelled->TryCancel();
  return call;
}

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
