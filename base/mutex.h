#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace vmeventd {

// std::mutex with Abseil's thread annotations. Not absl::Mutex: Debian's Abseil is built without
// ThreadSanitizer, which then sees none of its locking (docs/internals/adr/0004-mutex.md).
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

class CondVar {
 public:
  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    WaitFor(mutex, absl::InfiniteDuration());
  }

  // Returns after a notification, after `timeout`, or spuriously: check the condition.
  void WaitFor(Mutex* mutex, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    if (timeout >= absl::Hours(24 * 365)) {
      cond_.wait(lock);
    } else {
      cond_.wait_for(lock, absl::ToChronoNanoseconds(timeout));
    }
    lock.release();
  }
  void NotifyOne() { cond_.notify_one(); }
  void NotifyAll() { cond_.notify_all(); }

 private:
  std::condition_variable cond_;
};

// Waits until `condition()` is true, at most `timeout`, which may be infinite, and returns whether
// it is true. `condition` is called with `mutex` held; each change of its inputs must notify
// `changed`. Measures real time, not a test's clock.
template <typename Condition>
bool WaitUntil(CondVar* changed, Mutex* mutex, absl::Duration timeout, Condition condition)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex)
        ABSL_NO_THREAD_SAFETY_ANALYSIS {  // `condition` requires it
  using Steady = std::chrono::steady_clock;
  const Steady::time_point begin = Steady::now();
  while (!condition()) {
    const absl::Duration left = timeout - absl::FromChrono(Steady::now() - begin);
    if (left <= absl::ZeroDuration()) return false;
    changed->WaitFor(mutex, left);
  }
  return true;
}

}  // namespace vmeventd
