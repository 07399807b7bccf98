#ifndef VMEVENTD_CLIENT_STOP_SOURCE_H_
#define VMEVENTD_CLIENT_STOP_SOURCE_H_

#include <condition_variable>
#include <memory>
#include <mutex>

#include "absl/time/time.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// Ends a watch from outside: cancels the stream that is being read and every wait. Any thread.
class StopSource {
 public:
  // For good. The second call does nothing.
  void Stop();
  bool stopped() const;

  // Waits for `duration`, or until stopped. Returns whether it was stopped.
  bool WaitFor(absl::Duration duration);

  // The call that Stop() cancels from now on, at once if it has been called; null: none. Returns
  // the one before it.
  std::shared_ptr<grpc::ClientContext> SetCall(std::shared_ptr<grpc::ClientContext> call);

 private:
  mutable std::mutex mutex_;
  std::condition_variable stopping_;
  bool stopped_ = false;                       // under mutex_
  std::shared_ptr<grpc::ClientContext> call_;  // under mutex_
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_STOP_SOURCE_H_
