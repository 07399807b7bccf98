#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/fair_queue.h"
#include "base/mutex.h"

namespace vmeventd {

// Short turns of work, done owner by owner on the threads that call Run, so that the caller of Add
// never does them. Its users bound it. Any thread.
class TurnQueue {
 public:
  using Turn = std::function<void()>;

  // False: it was stopped, and the turn is not done.
  bool Add(const std::string& owner, Turn turn) {
    const MutexLock lock(&mutex_);
    if (stopped_) return false;
    turns_.Push(owner, std::move(turn));
    changed_.NotifyOne();
    return true;
  }
  // Does the next turn on the caller's thread; false: none waits.
  bool RunTurn() {
    Turn turn;
    {
      const MutexLock lock(&mutex_);
      if (turns_.empty()) return false;
      turn = turns_.Pop();
    }
    turn();
    return true;
  }
  // Does turns until Stop, and then those that wait.
  void Run() {
    while (true) {
      {
        const MutexLock lock(&mutex_);
        while (turns_.empty() && !stopped_) changed_.Wait(&mutex_);
        if (turns_.empty()) return;
      }
      RunTurn();
    }
  }
  void Stop() {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  bool stopped() const {
    const MutexLock lock(&mutex_);
    return stopped_;
  }
  size_t size() const {
    const MutexLock lock(&mutex_);
    return turns_.size();
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  FairQueue<Turn> turns_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
