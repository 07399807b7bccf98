#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Receives epoll's events of a descriptor.
class FdHandler {
 public:
  virtual ~FdHandler() = default;
  // `events` are EPOLLIN and so on, level-triggered. May add and remove any descriptor or timer.
  virtual void OnFdReady(uint32_t events) = 0;
};

// Identifies a timer. Safe to use after the timer has fired or was cancelled.
struct TimerId {
  int64_t deadline_ns = 0;
  uint64_t serial = 0;  // 0: no timer

  bool operator<(const TimerId& other) const {
    return std::pair(deadline_ns, serial) < std::pair(other.deadline_ns, other.serial);
  }
};

// An epoll loop with timers on the monotonic clock and functions from other threads; its owner
// calls RunOnce. Does not wake up while nothing is due. All methods except Post, Wake and Now are
// for one thread.
class EventLoop {
 public:
  // `clock` outlives the loop. The error names the call that failed.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create(const Clock* clock);

  // Watches `fd`, which stays the caller's. `handler` must live until Remove.
  absl::Status Add(int fd, uint32_t events, FdHandler* handler);
  // Changes the events of `fd`, which is watched already.
  void Modify(int fd, uint32_t events);
  // Stops watching `fd`; call it before closing the descriptor. Pending input of this turn is
  // dropped: neither `handler` nor the next user of the descriptor's number gets it. No-op if `fd`
  // is not watched, as after a failed Add.
  void Remove(int fd);

  // Calls `callback` once, in the first turn at or after `deadline` (Clock's monotonic). Timers
  // with the same deadline fire in the order in which they were added.
  TimerId AddTimer(absl::Duration deadline, std::function<void()> callback);
  // Cancels the timer and clears `id`. No-op if the timer has fired or was never set.
  void CancelTimer(TimerId* id);
  // Replaces the timer `id` by a new one. `id` is cleared before `callback` is called; until then
  // it must stay at its address.
  template <typename Callback>
  void SetTimer(TimerId* id, absl::Duration deadline, Callback callback) {
    CancelTimer(id);
    *id = AddTimer(deadline, [id, callback = std::move(callback)] {
      *id = {};
      callback();
    });
  }
  // The same, `delay` from now.
  template <typename Callback>
  void SetTimerIn(TimerId* id, absl::Duration delay, Callback callback) {
    SetTimer(id, Now().monotonic + delay, std::move(callback));
  }

  // Waits for input, a timer or Wake, at most `timeout`, then handles what is due. If very much is
  // due, handles a part, so that neither input nor timers starve the other.
  void RunOnce(absl::Duration timeout);
  // Makes a waiting RunOnce return early; if none waits, the next one. Any thread;
  // async-signal-safe.
  void Wake() const;
  // The next turn calls `function`. Functions of one thread run in order; those still pending are
  // destroyed uncalled with the loop. The callers must limit the backlog. Any thread.
  void Post(absl::AnyInvocable<void()> function);

  // The clock's time. Any thread.
  Instant Now() const { return clock_->Now(); }
  // Time at which the current or the last turn stopped waiting and began its work; on the monotonic
  // clock.
  absl::Duration turn_began() const { return turn_began_; }

 private:
  // A descriptor's number may be used again while an event for its last use waits in the batch:
  // the serial distinguishes them.
  struct Watch {
    FdHandler* handler = nullptr;
    uint32_t serial = 0;
  };

  EventLoop(const Clock* clock, UniqueFd epoll, UniqueFd wake)
      : clock_(clock),
        epoll_(std::move(epoll)),
        wake_(std::move(wake)),
        turn_began_(clock->Now().monotonic) {}
  int WaitMilliseconds(absl::Duration timeout) const;
  void DispatchInput(int timeout_ms);
  void CallPosted();
  void FireTimers();

  const Clock* const clock_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  std::vector<Watch> watches_;  // indexed by descriptor
  std::map<TimerId, std::function<void()>> timers_;
  absl::Duration turn_began_;
  uint32_t last_watch_ = 0;
  uint64_t last_timer_ = 0;

  Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> posted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
