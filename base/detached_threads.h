#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace vmeventd {

// Threads for calls that another party can delay for as long as it likes. Each such call holds one
// thread; nobody waits for any of them. Any thread.
class DetachedThreads {
 public:
  // Starts at most `max_threads`, each when a job needs it. Each calls `begin` first, to name
  // itself for example.
  DetachedThreads(int max_threads, std::function<void()> begin);
  // Queued jobs still run, so a job may refer only to what it owns.
  ~DetachedThreads();
  DetachedThreads(const DetachedThreads&) = delete;
  DetachedThreads& operator=(const DetachedThreads&) = delete;

  // Queues `job`. If no thread can be started, it waits for one that is there, or for the next
  // call. The queue has no limit of its own: see waiting().
  void Run(std::function<void()> job);
  // Returns the number of jobs that no thread has begun.
  size_t waiting() const;

 private:
  struct State;
  static void Work(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
};

}  // namespace vmeventd
