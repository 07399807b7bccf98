#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace vmeventd {

// A queue that is fair between owners: the items of one owner leave in the order they came, and
// owners take turns, so that an owner with many items does not delay the others. Not thread-safe
// and not bounded: the caller locks and limits it.
template <typename Item>
class FairQueue {
 public:
  void Push(const std::string& owner, Item item) {
    auto found = lines_.find(owner);
    if (found == lines_.end()) {
      found = lines_.emplace(owner, turns_.insert(turns_.end(), {owner, {}})).first;
    }
    found->second->items.push_back(std::move(item));
    ++size_;
  }

  // Takes the next item. The queue must not be empty.
  Item Pop() {
    const auto line = turns_.begin();
    Item item = std::move(line->items.front());
    line->items.pop_front();
    --size_;
    if (line->items.empty()) {
      Forget(line);
    } else {
      turns_.splice(turns_.end(), turns_, line);
    }
    return item;
  }

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

 private:
  struct Line {
    std::string owner;
    std::deque<Item> items;
  };
  using Turns = std::list<Line>;

  void Forget(typename Turns::iterator line) {
    lines_.erase(line->owner);
    turns_.erase(line);
  }

  Turns turns_;  // the next owner first; no line is empty
  absl::flat_hash_map<std::string, typename Turns::iterator> lines_;
  size_t size_ = 0;
};

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
