#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace vmeventd {

// Threads for calls that another party can delay without limit. Each such call occupies one thread;
// nobody has to wait for it. Any thread.
class DetachedThreads {
 public:
  // Starts at most `max_threads`, each when a job needs it. Each calls `begin` first, to name
  // itself for example, and ends when no job waits. Queued jobs run after the destructor as well,
  // so a job may refer only to what it owns.
  DetachedThreads(int max_threads, std::function<void()> begin);
  DetachedThreads(const DetachedThreads&) = delete;
  DetachedThreads& operator=(const DetachedThreads&) = delete;

  // Queues `job`. If no thread can be started, the job waits for an existing one, or for the next
  // Run() or StartMissing(). The queue has no limit of its own: see waiting().
  void Run(std::function<void()> job);
  // Starts the threads that jobs wait for, if that is possible.
  void StartMissing();
  // Returns the number of jobs that no thread has begun.
  size_t waiting() const;
  // Waits until all jobs have ended, at most `limit`. Returns whether they have.
  bool WaitForJobs(absl::Duration limit);

 private:
  struct State;
  static void Work(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
};

}  // namespace vmeventd
