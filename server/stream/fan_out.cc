#include "server/stream/fan_out.h"

#include "base/thread_name.h"

namespace vmeventd {

FanOut::FanOut(int threads, std::function<void()> add_all) : add_all_(std::move(add_all)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

FanOut::~FanOut() {
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool FanOut::RunTurn() {
  bool all = false;
  std::shared_ptr<FanOutTask> task;
  {
    const MutexLock lock(&mutex_);
    if (tasks_.empty() && !all_) return false;
    all = std::exchange(all_, false);
    if (!tasks_.empty()) task = tasks_.Pop();
  }
  if (all) add_all_();
  if (task != nullptr) task->Turn();
  return true;
}

void FanOut::Run() {
  SetThreadName("fan-out");
  while (true) {
    {
      const MutexLock lock(&mutex_);
      while (tasks_.empty() && !all_ && !stopped_) changed_.Wait(&mutex_);
      if (stopped_) return;
    }
    RunTurn();
  }
}

}  // namespace vmeventd
