#include "client/stop_source.h"

#include <utility>

namespace vmeventd::client {

void StopSource::Stop() {
  std::shared_ptr<grpc::ClientContext> call;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    call = call_;
  }
  stopping_.notify_all();
  if (call != nullptr) call->TryCancel();
}

bool StopSource::stopped() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stopped_;
}

bool StopSource::WaitFor(absl::Duration duration) {
  std::unique_lock<std::mutex> lock(mutex_);
  return stopping_.wait_for(lock, absl::ToChronoNanoseconds(duration), [this] { return stopped_; });
}

std::shared_ptr<grpc::ClientContext> StopSource::SetCall(
    std::shared_ptr<grpc::ClientContext> call) {
  std::shared_ptr<grpc::ClientContext> cancelled;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopped_) cancelled = call;
    call_.swap(call);
  }
  if (cancelled != nullptr) cancelled->TryCancel();
  return call;
}

}  // namespace vmeventd::client
