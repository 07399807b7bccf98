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

// The threads that the daemon starts, one of which runs at a time, beside the simulation itself,
// the main thread. One gives way to another before it takes a lock and after it has released one,
// where it holds no other; so none ever waits for a lock. It waits for a condition until it is
// notified, and no longer: what a lost notification leaves undone stays so. system_calls.cc leads
// the standard library's calls here.
class Threads {
 public:
  // Runs on the main thread while it waits for a condition, until `until` at the latest.
  using MainWaits = std::function<void(absl::Duration until)>;

  Threads(const Clock* clock, Random* random);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  // The one that exists, or null.
  static Threads* Current() { return current_; }

  void set_main_waits(MainWaits main_waits) { main_waits_ = std::move(main_waits); }

  // Calls for the main thread alone.
  bool CanTurn() const;
  void Turn();                 // runs one that can, until it gives way
  absl::Duration due() const;  // time at which one can, though nobody notifies it

  // Calls for any thread.
  uint64_t Start(std::function<void()> body);
  void Join(uint64_t id);
  void Detach(uint64_t id);  // for a thread that nobody joins
  void BeforeLock();
  void AfterUnlock();
  // Waits without `mutex`, which the caller holds alone. False: it is `until`.
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
  void Drop(Thread* thread);  // frees one that has ended
  bool Wait(const void* condition, absl::Duration until);
  bool Can(const Thread& thread) const;
  void GiveWay();
  void SwitchTo(Thread* thread);
  absl::Duration now() const { return clock_->Now().monotonic; }

  static Threads* current_;
  const Clock* const clock_;
  Random* const random_;
  const uint64_t gives_way_one_in_;  // chances to give way, of which it takes one
  MainWaits main_waits_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::unique_ptr<char[]>> stacks_;  // stacks of those that ended
  uint64_t last_id_ = 0;
  Thread main_;
  Thread* running_ = &main_;
};

}  // namespace vmeventd::simulation
