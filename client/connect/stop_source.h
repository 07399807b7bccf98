#ifndef VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_
#define VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

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

// Cancels a stream that is silent for too long: a server that hangs, or a dead connection. Only the
// time between Arm() and Disarm() counts, while the caller waits for a message. Call its methods
// from one thread; it runs a thread of its own.
class SilenceGuard {
 public:
  // `clock` is never set, and asked on both threads.
  SilenceGuard(absl::Duration limit, std::shared_ptr<grpc::ClientContext> call,
               std::function<absl::Time()> clock);
  ~SilenceGuard();
  SilenceGuard(const SilenceGuard&) = delete;
  SilenceGuard& operator=(const SilenceGuard&) = delete;

  void Arm();
  void Disarm();
  // Returns whether it has cancelled the call.
  bool fired() const;

 private:
  void Watch();

  const absl::Duration limit_;
  const std::shared_ptr<grpc::ClientContext> call_;
  const std::function<absl::Time()> clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Time deadline_;  // guarded by mutex_, as are the next three
  bool armed_ = false;
  bool fired_ = false;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_STOP_SOURCE_H_
