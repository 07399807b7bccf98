#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// Decides when to notify the service manager that the daemon is alive: as long as every watched
// thread still does its turns. Asks the threads thirty times within the manager's limit, so that a
// hang shorter than 29/30 of it is survived.
class Watchdog {
 public:
  enum Thread { kWatcher, kPump, kAcceptor };
  static constexpr size_t kThreads = 3;

  // `limit`: time without a notification after which the manager kills the daemon.
  explicit Watchdog(absl::Duration limit) : limit_(limit) {}

  absl::Duration turn() const { return limit_ / 30; }
  // Returns whether all threads have answered the last question; the caller then notifies the
  // manager and asks the threads again. A state directory whose disk hangs stops none of them. Logs
  // the threads that have been silent for a third of the limit. One thread.
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

}  // namespace vmeventd
