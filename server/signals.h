#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace vmeventd {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those that it starts, so that a
// SignalThread receives them. Call it before any other thread exists.
void BlockSignals();

// Waits for signals, on a thread of its own: SIGHUP calls `reload`. The first SIGTERM or SIGINT
// calls `stop`; the second ends the process at once, with status 1.
class SignalThread {
 public:
  // All objects that both functions refer to must outlive it.
  SignalThread(std::function<void()> reload, std::function<void()> stop);
  // Ends the thread.
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void Run();

  const std::function<void()> reload_;
  const std::function<void()> stop_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace vmeventd
