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

}  // namespace vmeventd::client
