#include "watcher/runs/directory_thread.h"

#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/thread_name.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// Several timers together find a hang, because a daemon that was itself stopped meets only one of
// them late.
constexpr absl::Duration kLook = absl::Seconds(1);
constexpr int kLooks = 5;

}  // namespace

struct DirectoryThread::State {
  struct Waiting {
    uint64_t id;
    Task task;
  };

  Mutex mutex;
  CondVar task_there;
  CondVar task_done;
  std::deque<Waiting> waiting ABSL_GUARDED_BY(mutex);
  std::deque<Then> ended ABSL_GUARDED_BY(mutex);
  bool busy ABSL_GUARDED_BY(mutex) = false;     // a task has begun
  bool awaited ABSL_GUARDED_BY(mutex) = false;  // the loop's thread waits for `ended`
  uint64_t dropped_through ABSL_GUARDED_BY(mutex) = 0;
  bool answers ABSL_GUARDED_BY(mutex) = false;  // a task that was dropped has ended
  // Null: it was destroyed. The loop's thread alone changes it.
  DirectoryThread* owner ABSL_GUARDED_BY(mutex) = nullptr;
};

DirectoryThread::DirectoryThread(EventLoop* loop, absl::Duration patience,
                                 std::function<void()> on_change)
    : loop_(loop),
      patience_(patience),
      on_change_(std::move(on_change)),
      state_(std::make_shared<State>()) {
  const MutexLock lock(&state_->mutex);
  state_->owner = this;
}

DirectoryThread::~DirectoryThread() {
  loop_->CancelTimer(&silence_);
  std::deque<State::Waiting> waiting;
  bool busy = false;
  {
    const MutexLock lock(&state_->mutex);
    state_->owner = nullptr;
    waiting.swap(state_->waiting);
    busy = state_->busy;
    state_->task_there.NotifyOne();
  }
  if (!thread_.joinable()) return;
  if (busy) {
    thread_.detach();  // it may hang
  } else {
    thread_.join();
  }
}

void DirectoryThread::Loop(const std::shared_ptr<State>& state) {
  SetThreadName("directory");
  while (true) {
    State::Waiting next;
    {
      const MutexLock lock(&state->mutex);
      while (state->owner != nullptr && state->waiting.empty()) {
        state->task_there.Wait(&state->mutex);
      }
      if (state->owner == nullptr) return;
      next = std::move(state->waiting.front());
      state->waiting.pop_front();
      state->busy = true;
    }
    Then then = next.task();
    next.task = nullptr;
    const MutexLock lock(&state->mutex);
    state->busy = false;
    if (state->owner == nullptr) return;
    if (next.id <= state->dropped_through) {
      state->answers = true;
    } else {
      state->ended.push_back(std::move(then));
    }
    if (state->awaited) {
      state->task_done.NotifyOne();
      continue;
    }
    // The loop's thread alone destroys the owner, and calls this.
    state->owner->loop_->Post([state] {
      DirectoryThread* owner = nullptr;
      {
        const MutexLock own(&state->mutex);
        owner = state->owner;
      }
      if (owner != nullptr) owner->CallEnded();
    });
  }
}

bool DirectoryThread::HasThread() {
  if (thread_.joinable()) return true;
  try {
    thread_ = std::thread([state = state_] { Loop(state); });
    return true;
  } catch (const std::system_error&) {
    if (!std::exchange(lack_logged_, true)) {
      spdlog::warn(
          "no thread can be started for a watched directory, so the watcher looks at it itself, "
          "and waits if it hangs: raise TasksMax= or ulimit -u");
    }
    return false;
  }
}

void DirectoryThread::Run(Task task, Then dropped) {
  if (hangs_) return dropped();
  // The task runs here because there is no thread; nothing else can be under way.
  if (!HasThread()) return task()();
  const bool is_idle = pending_.empty();
  pending_.push_back({++last_id_, std::move(dropped)});
  const bool waits = is_idle && loop_->Now().monotonic >= slow_until_;
  bool ended = false;
  {
    const MutexLock lock(&state_->mutex);
    state_->waiting.push_back({last_id_, std::move(task)});
    state_->task_there.NotifyOne();
    if (waits) {
      state_->awaited = true;
      ended = WaitUntil(
          &state_->task_done, &state_->mutex, patience_,
          [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) { return !state_->ended.empty(); });
      state_->awaited = false;
    }
  }
  if (ended) return CallEnded();
  if (is_idle) WatchOldest();
  if (waits) slow_until_ = loop_->Now().monotonic + kSlow;
}

void DirectoryThread::CallEnded() {
  std::deque<Then> ended;
  bool answers = false;
  {
    const MutexLock lock(&state_->mutex);
    ended.swap(state_->ended);
    answers = std::exchange(state_->answers, false);
  }
  if (answers && hangs_) {
    hangs_ = false;
    on_change_();
  }
  for (Then& then : ended) {
    pending_.pop_front();
    WatchOldest();
    then();
  }
}

void DirectoryThread::WatchOldest() {
  silent_ = 0;
  if (pending_.empty()) return loop_->CancelTimer(&silence_);
  loop_->SetTimerIn(&silence_, kLook, [this] { OnSilence(); });
}

void DirectoryThread::OnSilence() {
  std::deque<State::Waiting> waiting;
  if (++silent_ < kLooks) {
    return loop_->SetTimerIn(&silence_, kLook, [this] { OnSilence(); });
  }
  {
    const MutexLock lock(&state_->mutex);
    // The loop was slow, or the thread got no processor time.
    if (!state_->ended.empty() || !state_->busy) return WatchOldest();
    waiting.swap(state_->waiting);
    state_->dropped_through = last_id_;
  }
  hangs_ = true;
  std::deque<Pending> dropped = std::exchange(pending_, {});
  on_change_();
  for (Pending& one : dropped) one.dropped();
}

}  // namespace vmeventd
