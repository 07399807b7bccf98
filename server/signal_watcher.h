#ifndef VMEVENTD_SERVER_SIGNAL_WATCHER_H_
#define VMEVENTD_SERVER_SIGNAL_WATCHER_H_

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

namespace vmeventd {

// Blocks SIGTERM and SIGINT for this thread and those that it will start, and ignores SIGPIPE.
// Call it in main before anything else starts a thread.
void BlockStopSignals();

// Waits for SIGTERM and SIGINT on a thread of its own. The first calls `stop` there; the second
// ends the process at once, with status 1.
class SignalWatcher {
 public:
  explicit SignalWatcher(std::function<void()> stop);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Run();

  const std::function<void()> stop_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_SIGNAL_WATCHER_H_
