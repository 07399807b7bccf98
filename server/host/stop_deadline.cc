#include "server/host/stop_deadline.h"

#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace vmeventd {

StopDeadline::StopDeadline(absl::Duration timeout, Step step, GiveUp give_up)
    : give_up_(std::move(give_up)),
      step_(std::move(step)),
      thread_([this, timeout] { Wait(timeout); }) {}

StopDeadline::~StopDeadline() {
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void StopDeadline::Enter(Step step) {
  const MutexLock lock(&mutex_);
  step_ = std::move(step);
}

void StopDeadline::Wait(absl::Duration timeout) {
  SetThreadName("stop-deadline");
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  Step hangs;
  {
    const MutexLock lock(&mutex_);
    while (!stopped_) {
      const absl::Duration left = absl::FromChrono(end - std::chrono::steady_clock::now());
      if (left <= absl::ZeroDuration()) break;
      changed_.WaitFor(&mutex_, left);
    }
    if (stopped_) return;
    hangs = step_;
  }
  give_up_(hangs);
}

}  // namespace vmeventd
