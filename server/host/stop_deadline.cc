#include "server/host/stop_deadline.h"

#include <utility>

#include "base/thread_name.h"
#include "base/wait_until.h"

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
  Step hangs;
  {
    const MutexLock lock(&mutex_);
    if (WaitUntil(&changed_, &mutex_, timeout,
                  [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_; }))
      return;
    hangs = step_;
  }
  give_up_(hangs);
}

}  // namespace vmeventd
