#include "base/detached_threads.h"

#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace vmeventd {

struct DetachedThreads::State {
  State(int most, std::function<void()> first) : max_threads(most), begin(std::move(first)) {}

  const int max_threads;
  const std::function<void()> begin;
  Mutex mutex;
  CondVar changed;
  std::deque<std::function<void()>> waiting ABSL_GUARDED_BY(mutex);
  int threads ABSL_GUARDED_BY(mutex) = 0;
  int idle ABSL_GUARDED_BY(mutex) = 0;
  bool ended ABSL_GUARDED_BY(mutex) = false;
};

DetachedThreads::DetachedThreads(int max_threads, std::function<void()> begin)
    : state_(std::make_shared<State>(max_threads, std::move(begin))) {}

DetachedThreads::~DetachedThreads() {
  {
    const MutexLock lock(&state_->mutex);
    state_->ended = true;
  }
  state_->changed.NotifyAll();
}

void DetachedThreads::Run(std::function<void()> job) {
  bool start = false;
  {
    const MutexLock lock(&state_->mutex);
    state_->waiting.push_back(std::move(job));
    start = state_->waiting.size() > static_cast<size_t>(state_->idle) &&
            state_->threads < state_->max_threads;
    if (start) ++state_->threads;
  }
  state_->changed.NotifyOne();
  if (!start) return;
  try {
    std::thread([state = state_] { Work(state); }).detach();
  } catch (const std::system_error&) {
    const MutexLock lock(&state_->mutex);
    --state_->threads;
  }
}

size_t DetachedThreads::waiting() const {
  const MutexLock lock(&state_->mutex);
  return state_->waiting.size();
}

void DetachedThreads::Work(const std::shared_ptr<State>& state) {
  state->begin();
  while (true) {
    std::function<void()> job;
    {
      const MutexLock lock(&state->mutex);
      ++state->idle;
      while (state->waiting.empty() && !state->ended) state->changed.Wait(&state->mutex);
      --state->idle;
      if (state->waiting.empty()) return;
      job = std::move(state->waiting.front());
      state->waiting.pop_front();
    }
    job();
  }
}

}  // namespace vmeventd
