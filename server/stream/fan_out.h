#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/fair_queue.h"
#include "base/mutex.h"

namespace vmeventd {

// A task with occasional work, of a few milliseconds at most.
class FanOutTask {
 public:
  virtual ~FanOutTask() = default;
  // One turn, on a thread of the FanOut it was added to. Not concurrent with itself if each task is
  // added only once until its turn begins.
  virtual void Turn() = 0;
};

// Threads that give tasks their turns, owner by owner, so that the caller of Add never does its
// work. Its users bound the queue: each task waits once at most.
class FanOut {
 public:
  // `add_all` adds every task that there is; called on these threads, without a lock.
  FanOut(int threads, std::function<void()> add_all);
  // Tasks that still wait do not get their turn.
  ~FanOut();
  FanOut(const FanOut&) = delete;
  FanOut& operator=(const FanOut&) = delete;

  // Any thread; never waits.
  void Add(const std::string& owner, std::shared_ptr<FanOutTask> task) {
    const MutexLock lock(&mutex_);
    tasks_.Push(owner, std::move(task));
    changed_.NotifyOne();
  }
  // Has `add_all` called on one of the threads, once for all calls until then.
  void AddAll() {
    const MutexLock lock(&mutex_);
    all_ = true;
    changed_.NotifyOne();
  }

  // Runs the next pending turn on the caller's thread; false: none is pending. For tests, without
  // threads.
  bool RunTurn();

 private:
  void Run();

  const std::function<void()> add_all_;
  Mutex mutex_;
  CondVar changed_;
  FairQueue<std::shared_ptr<FanOutTask>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // last: they use the rest
};

}  // namespace vmeventd
