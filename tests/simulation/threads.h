#pragma once

#include <pthread.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "tests/simulation/random.h"

namespace vmeventd::simulation {

// The simulated threads that the daemon starts, and the main thread, which is the simulation. Only
// one thread runs at a time. A thread may yield to another before it takes a lock and after it has
// released one, if it holds no other lock; so no thread ever waits for a lock. A wait for a
// condition ends only by a notification or its timeout, so that a lost notification has its effect.
// system_calls.cc forwards the standard library's calls here.
class Threads {
 public:
  // Called on the main thread while it waits for a condition; returns at `until` at the latest.
  using MainWaits = std::function<void(absl::Duration until)>;

  Threads(const Clock* clock, Random* random);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  // The existing object, or null.
  static Threads* Current() { return current_; }

  void set_main_waits(MainWaits main_waits) { main_waits_ = std::move(main_waits); }

  // Only for the main thread.
  bool CanTurn() const;
  void Turn();                 // runs one thread that can run, until it yields
  absl::Duration due() const;  // time at which a thread can run without a notification

  // Any thread.
  uint64_t Start(std::function<void()> body);
  void Join(uint64_t id);
  void Detach(uint64_t id);  // for a thread that nobody will join
  void BeforeLock();
  void AfterUnlock();
  // Releases `mutex` while it waits; the caller must hold it and no other lock. False: `until` is
  // reached.
  bool WaitUnlocked(pthread_mutex_t* mutex, const void* condition, absl::Duration until);
  void Notify(const void* condition, bool all);

 private:
  struct Thread {
    uint64_t id = 0;
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    std::function<void()> body;
    int locks = 0;  // number of locks that it holds
    bool waits = false;
    const void* condition = nullptr;
    absl::Duration until = absl::InfiniteDuration();
    bool ended = false;
    bool detached = false;
  };
  static constexpr size_t kStackBytes = size_t{256} << 10;

  static void Body();
  void Drop(Thread* thread);  // frees a thread that has ended
  bool Wait(const void* condition, absl::Duration until);
  bool Can(const Thread& thread) const;
  void GiveWay();
  void SwitchTo(Thread* thread);
  absl::Duration now() const { return clock_->Now().monotonic; }

  static Threads* current_;
  const Clock* const clock_;
  Random* const random_;
  const uint64_t gives_way_one_in_;  // yields at one in this number of possible points
  MainWaits main_waits_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::unique_ptr<char[]>> stacks_;  // stacks of threads that have ended, for reuse
  uint64_t last_id_ = 0;
  Thread main_;
  Thread* running_ = &main_;
};

}  // namespace vmeventd::simulation
