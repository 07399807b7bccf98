#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/system.h"

namespace vmeventd {

// Notifies systemd if it started this process (sd_notify(3)); otherwise does nothing. Any thread.

// The daemon is ready, or ready again after a reload. `systemctl status` shows `status`, one line
// for people.
void NotifyReady(const std::string& status);
void NotifyReloading();
void NotifyStopping(const std::string& status);
// The daemon is alive. If this is not called for WatchdogInterval, systemd kills and restarts it.
void NotifyAlive(const std::string& status);
// Infinite: there is no watchdog.
absl::Duration WatchdogInterval();

// A descriptor that the service manager has stored, or listens on for this process.
struct StoredDescriptor {
  std::string name;
  UniqueFd fd;
};
// Returns the descriptors that it passed to this process at its start. Call it once.
std::vector<StoredDescriptor> TakeStoredDescriptors();
bool HasServiceManager();
// Has it store `fd`, which stays the caller's, as `name`, even if nothing holds its other end, and
// pass it to the next process of this service. It drops it without FileDescriptorStoreMax= in the
// unit, and when the service is stopped and not started again. Waits up to `timeout` until it has
// it. The error is the reason why it cannot be stored.
absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout);
// Has it close all that it has stored as `name`.
void RemoveStoredDescriptors(const std::string& name);

// Decides when to notify the service manager that the daemon is alive: as long as every watched
// thread still does its turns. Asks the threads thirty times within the manager's limit, so that a
// hang shorter than 29/30 of it is survived.
class Watchdog {
 public:
  enum Thread { kWatcher, kPump, kAcceptor, kGrpc };
  static constexpr size_t kThreads = 4;

  // `limit`: time without a notification after which the manager kills the daemon.
  explicit Watchdog(absl::Duration limit) : limit_(limit) {}

  absl::Duration turn() const { return limit_ / 30; }
  // Returns whether all threads have answered the last question; the caller then notifies the
  // manager and asks the threads again. None of them waits for the disk. Logs the threads that have
  // been silent for a third of the limit. One thread.
  bool Turn(absl::Duration now);
  // Records that `thread` has done a turn. Any thread.
  void Answer(Thread thread) { answered_[thread] = asked_.load(); }

 private:
  const absl::Duration limit_;
  std::atomic<uint64_t> asked_ = 0;
  std::array<std::atomic<uint64_t>, kThreads> answered_ = {};  // question answered last, by thread
  absl::Duration asked_at_ = absl::InfiniteDuration();
  bool logged_ = false;
};

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

  // `timeout` starts now, on the steady clock. The stop begins in `step`.
  StopDeadline(absl::Duration timeout, Step step, GiveUp give_up);
  ~StopDeadline();
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

  void Enter(Step step) {
    const MutexLock lock(&mutex_);
    step_ = std::move(step);
  }

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
