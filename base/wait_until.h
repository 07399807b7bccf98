#ifndef VMEVENTD_BASE_WAIT_UNTIL_H_
#define VMEVENTD_BASE_WAIT_UNTIL_H_

#include <chrono>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

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

#endif  // VMEVENTD_BASE_WAIT_UNTIL_H_
