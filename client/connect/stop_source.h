#ifndef VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_
#define VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>

#include "absl/time/time.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// Stops a watch from outside: cancels the stream being read and every wait. Any thread.
class StopSource {
 public:
  // Stops permanently. A second call does nothing.
  void Stop();
  bool stopped() const { return token().stop_requested(); }
  // For other waits.
  std::stop_token token() const { return source_.get_token(); }

  // Waits for `duration`, or until stopped. Returns whether it was stopped.
  bool WaitFor(absl::Duration duration);

  // Sets the call that Stop() cancels from now on, at once if already stopped; null: none. Returns
  // the previous call.
  std::shared_ptr<grpc::ClientContext> SetCall(std::shared_ptr<grpc::ClientContext> call);

 private:
  std::stop_source source_;
  std::mutex mutex_;
  std::condition_variable_any stopping_;
  std::shared_ptr<grpc::ClientContext> call_;  // under mutex_
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_
