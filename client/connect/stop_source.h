#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "absl/time/time.h"

namespace vmeventd::client {

// Stops a watch from outside: ends every wait, and runs the callbacks of its token. Any thread.
class StopSource {
 public:
  // Stops permanently. A second call does nothing.
  void Stop() { source_.request_stop(); }
  bool stopped() const { return token().stop_requested(); }
  std::stop_token token() const { return source_.get_token(); }

  // Waits for `duration`, or until stopped. Returns whether it was stopped.
  bool WaitFor(absl::Duration duration);

 private:
  std::stop_source source_;
  std::mutex mutex_;
  std::condition_variable_any stopping_;
};

}  // namespace vmeventd::client
