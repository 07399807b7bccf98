#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/time/time.h"

namespace vmeventd {

// Threads for calls that another party can delay for as long as it likes. Each such call holds one
// thread; nobody has to wait for any of them. Any thread.
class DetachedThreads {
 public:
  // Begins a thread that runs `body`; std::system_error: none can be made.
  using Spawn = std::function<void(std::function<void()> body)>;

  // Starts at most `max_threads`, each when a job needs it. Each calls `begin` first, to name
  // itself for example. Those without a job end, but for a few.
  DetachedThreads(int max_threads, std::function<void()> begin, Spawn spawn = SpawnDetached);
  // Queued jobs still run, so a job may refer only to what it owns.
  ~DetachedThreads();
  DetachedThreads(const DetachedThreads&) = delete;
  DetachedThreads& operator=(const DetachedThreads&) = delete;

  // Queues `job`. If no thread can be started, it waits for one that is there, or for the next
  // call or Retry(). The queue has no limit of its own: see waiting().
  void Run(std::function<void()> job);
  // Returns the number of jobs that no thread has begun.
  size_t waiting() const;

  // Returns whether a job waits because no thread could be started.
  bool starved() const;
  void Retry();
  // Waits until all jobs have ended, at most `limit`. Returns whether they have.
  bool WaitForJobs(absl::Duration limit);

 private:
  struct State;
  static void SpawnDetached(std::function<void()> body);
  static void Work(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
};

}  // namespace vmeventd
