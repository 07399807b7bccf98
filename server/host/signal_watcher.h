#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

namespace vmeventd {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those it starts later, and ignores
// SIGPIPE. Call it in main before any thread starts.
void BlockSignals();

// Waits for signals on a thread of its own. SIGHUP calls `reload` there. The first SIGTERM or
// SIGINT calls `stop`; the second ends the process at once, with status 1.
class SignalWatcher {
 public:
  SignalWatcher(std::function<void()> stop, std::function<void()> reload);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Run();

  const std::function<void()> stop_;
  const std::function<void()> reload_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace vmeventd
