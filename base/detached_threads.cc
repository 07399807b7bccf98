#include "base/detached_threads.h"

#include <pthread.h>

#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace vmeventd {

struct DetachedThreads::State {
  State(int max, std::function<void()> first) : max_threads(max), begin(std::move(first)) {}

  const int max_threads;
  const std::function<void()> begin;
  Mutex mutex;
  CondVar done;
  std::deque<std::function<void()>> waiting ABSL_GUARDED_BY(mutex);
  int threads ABSL_GUARDED_BY(mutex) = 0;
};

DetachedThreads::DetachedThreads(int max_threads, std::function<void()> begin)
    : state_(std::make_shared<State>(max_threads, std::move(begin))) {}

void DetachedThreads::Run(std::function<void()> job) {
  {
    const MutexLock lock(&state_->mutex);
    state_->waiting.push_back(std::move(job));
  }
  StartMissing();
}

void DetachedThreads::StartMissing() {
  const MutexLock lock(&state_->mutex);
  if (state_->waiting.empty() || state_->threads == state_->max_threads) return;
  try {
    std::thread([state = state_] { Work(state); }).detach();
    ++state_->threads;
  } catch (const std::system_error&) {
    // The next call tries again.
  }
}

size_t DetachedThreads::waiting() const {
  const MutexLock lock(&state_->mutex);
  return state_->waiting.size();
}

bool DetachedThreads::WaitForJobs(absl::Duration limit) {
  State* const state = state_.get();
  const MutexLock lock(&state->mutex);
  return WaitUntil(&state->done, &state->mutex, limit,
                   [state]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) {
                     return state->waiting.empty() && state->threads == 0;
                   });
}

void DetachedThreads::Work(const std::shared_ptr<State>& state) {
  state->begin();
  while (true) {
    std::function<void()> job;
    {
      const MutexLock lock(&state->mutex);
      if (state->waiting.empty()) {
        if (--state->threads == 0) state->done.NotifyAll();
        return;
      }
      job = std::move(state->waiting.front());
      state->waiting.pop_front();
    }
    job();
  }
}

}  // namespace vmeventd
