#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace vmeventd {

// A queue of short turns of work. The threads that call Run do them, never the caller of Add. Turns
// of one owner are done in the order in which they were added; owners alternate, so that one with
// many turns does not delay the others. Its users must limit its size. Any thread.
class TurnQueue {
 public:
  using Turn = std::function<void()>;

  // False: the queue was stopped, and the turn will not be done.
  bool Add(const std::string& owner, Turn turn) {
    const MutexLock lock(&mutex_);
    if (stopped_) return false;
    std::deque<Turn>& turns = turns_[owner];
    if (turns.empty()) owners_.push_back(owner);
    turns.push_back(std::move(turn));
    ++size_;
    changed_.NotifyOne();
    return true;
  }
  // Does the next turn on the caller's thread; false: none waits.
  bool RunTurn() {
    Turn turn;
    {
      const MutexLock lock(&mutex_);
      if (owners_.empty()) return false;
      std::string owner = std::move(owners_.front());
      owners_.pop_front();
      const auto turns = turns_.find(owner);
      turn = std::move(turns->second.front());
      turns->second.pop_front();
      --size_;
      if (turns->second.empty()) {
        turns_.erase(turns);
      } else {
        owners_.push_back(std::move(owner));
      }
    }
    turn();
    return true;
  }
  // Does turns until Stop, and then the ones that still wait.
  void Run() {
    while (true) {
      {
        const MutexLock lock(&mutex_);
        while (owners_.empty() && !stopped_) changed_.Wait(&mutex_);
        if (owners_.empty()) return;
      }
      RunTurn();
    }
  }
  void Stop() {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  size_t size() const {
    const MutexLock lock(&mutex_);
    return size_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> owners_ ABSL_GUARDED_BY(mutex_);  // those with turns, the next first
  absl::flat_hash_map<std::string, std::deque<Turn>> turns_ ABSL_GUARDED_BY(mutex_);
  size_t size_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
