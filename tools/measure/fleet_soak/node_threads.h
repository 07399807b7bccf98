#pragma once

#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/fleet/publisher.h"

namespace vmeventd::e2e {

// Threads that step the publishers of many nodes, each when it is due: a thread for each of 10,000
// nodes would be more than the machine permits, beside those of NATS's library. Any thread.
class NodeThreads {
 public:
  explicit NodeThreads(int count);
  ~NodeThreads();

  // Steps the publisher from now on.
  void Add(FleetPublisher* publisher);
  // It has something to do.
  void Wake(FleetPublisher* publisher);
  // Waits until its step is over; there is no other one.
  void Remove(FleetPublisher* publisher);

 private:
  struct Job {
    absl::Time due;
    bool running = false;
    bool woken = false;  // while it was running
  };

  void Run();
  void Wait(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetDue(FleetPublisher* publisher, absl::Time due) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  CondVar done_;  // a step
  std::map<FleetPublisher*, Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<absl::Time, FleetPublisher*>> due_ ABSL_GUARDED_BY(mutex_);
  // Until when a thread waits; the infinite future: none does.
  absl::Time awaited_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace vmeventd::e2e
