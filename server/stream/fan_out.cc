#include "server/stream/fan_out.h"

#include <utility>

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

void FanOut::Add(const std::string& owner, std::shared_ptr<FanOutTask> task) {
  const MutexLock lock(&mutex_);
  tasks_.Push(owner, std::move(task));
  changed_.NotifyOne();
}

void FanOut::AddAll() {
  const MutexLock lock(&mutex_);
  all_ = true;
  changed_.NotifyOne();
}

FanOut::Work FanOut::TakeLocked() {
  Work work{.all = std::exchange(all_, false)};
  if (!tasks_.empty()) work.task = tasks_.Pop();
  return work;
}

void FanOut::Do(const Work& work) {
  if (work.all) add_all_();
  if (work.task != nullptr) work.task->Turn();
}

bool FanOut::RunTurn() {
  Work work;
  {
    const MutexLock lock(&mutex_);
    if (tasks_.empty() && !all_) return false;
    work = TakeLocked();
  }
  Do(work);
  return true;
}

void FanOut::Run() {
  SetThreadName("fan-out");
  while (true) {
    Work work;
    {
      const MutexLock lock(&mutex_);
      while (tasks_.empty() && !all_ && !stopped_) changed_.Wait(&mutex_);
      if (stopped_) return;
      work = TakeLocked();
    }
    Do(work);
  }
}

}  // namespace vmeventd
