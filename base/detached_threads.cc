#include "base/detached_threads.h"

#include <deque>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace vmeventd {
namespace {

// Limit of idle threads kept for later jobs: starting one takes longer than most jobs.
constexpr int kMaxIdle = 4;

}  // namespace

struct DetachedThreads::State {
  State(int max, std::function<void()> first) : max_threads(max), begin(std::move(first)) {}

  bool no_jobs() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return waiting.empty() && idle == threads;
  }

  const int max_threads;
  const std::function<void()> begin;
  Mutex mutex;
  CondVar changed;
  CondVar done;
  std::deque<std::function<void()>> waiting ABSL_GUARDED_BY(mutex);
  int threads ABSL_GUARDED_BY(mutex) = 0;
  int idle ABSL_GUARDED_BY(mutex) = 0;  // the idle ones of those, starting ones included
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
  {
    const MutexLock lock(&state_->mutex);
    state_->waiting.push_back(std::move(job));
  }
  state_->changed.NotifyOne();
  StartMissing();
}

void DetachedThreads::StartMissing() {
  const MutexLock lock(&state_->mutex);
  while (state_->waiting.size() > static_cast<size_t>(state_->idle) &&
         state_->threads < state_->max_threads) {
    try {
      std::thread([state = state_] { Work(state); }).detach();
    } catch (const std::system_error&) {
      return;
    }
    ++state_->threads;
    ++state_->idle;
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
                   [state]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex) { return state->no_jobs(); });
}

void DetachedThreads::Work(const std::shared_ptr<State>& state) {
  state->begin();
  for (bool first = true;; first = false) {
    std::function<void()> job;
    {
      const MutexLock lock(&state->mutex);
      if (!first) ++state->idle;
      if (state->no_jobs()) state->done.NotifyAll();
      while (state->waiting.empty() && !state->ended && state->idle <= kMaxIdle) {
        state->changed.Wait(&state->mutex);
      }
      --state->idle;
      if (state->waiting.empty()) {
        --state->threads;
        return;
      }
      job = std::move(state->waiting.front());
      state->waiting.pop_front();
    }
    job();
  }
}

}  // namespace vmeventd
