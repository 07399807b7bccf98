#ifndef VMEVENTD_SERVER_HOST_STOP_DEADLINE_H_
#define VMEVENTD_SERVER_HOST_STOP_DEADLINE_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

// Ends a stop that exceeds its deadline, and reports the step that hung. The stopping thread
// creates it, enters each step in turn, and destroys it at the end.
class StopDeadline {
 public:
  // Names the step that the stop waits for, and the exit code if it hangs.
  struct Step {
    std::string what;
    int exit_code = 1;
  };
  // Ends the process. Called at most once, on a thread of its own.
  using GiveUp = std::function<void(const Step& hangs)>;

  // `timeout` counts from now on the steady clock. The stop begins in `step`.
  StopDeadline(absl::Duration timeout, Step step, GiveUp give_up);
  ~StopDeadline();
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

  void Enter(Step step);

 private:
  void Wait(absl::Duration timeout);

  const GiveUp give_up_;
  Mutex mutex_;
  CondVar changed_;
  Step step_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_STOP_DEADLINE_H_
