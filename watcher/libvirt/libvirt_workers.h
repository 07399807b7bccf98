#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

// The threads that make libvirt's blocking calls: one for each job, at most kMaxThreads. A job that
// never returns keeps its thread for ever, and nobody waits for it; jobs beyond the limit wait
// until a thread is free. Any thread.
class LibvirtWorkers : public std::enable_shared_from_this<LibvirtWorkers> {
 public:
  // More than the pods that Kubernetes starts on a node, each of which may have a libvirt that
  // hangs.
  static constexpr size_t kMaxThreads = 256;

  // Begins a thread that runs `body`; std::system_error: none can be made.
  using Spawn = std::function<void(std::function<void()> body)>;
  static std::shared_ptr<LibvirtWorkers> Create(Spawn spawn = SpawnDetached);

  // Has `job` run on one of the threads.
  void Run(std::function<void()> job);
  // Returns whether a job waits because no thread could be made: Retry() is to be called after a
  // while.
  bool starved() const { return starved_; }
  void Retry();
  // Waits until no thread is left, at most `limit`. Returns whether there is none.
  bool WaitForNone(absl::Duration limit);

 private:
  explicit LibvirtWorkers(Spawn spawn) : spawn_(std::move(spawn)) {}
  static void SpawnDetached(std::function<void()> body);
  void StartThreads() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Work();

  const Spawn spawn_;
  std::atomic<bool> starved_ = false;
  Mutex mutex_;
  CondVar none_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);  // one a link at the most
  size_t threads_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t starting_ ABSL_GUARDED_BY(mutex_) = 0;  // of those, that have not looked for a job yet
};

}  // namespace vmeventd
