#include "tests/simulation/threads.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names of --wrap.
extern "C" int __real_pthread_mutex_lock(pthread_mutex_t*);
extern "C" int __real_pthread_mutex_unlock(pthread_mutex_t*);
// NOLINTEND(bugprone-reserved-identifier)

namespace vmeventd::simulation {

Threads* Threads::current_ = nullptr;

Threads::Threads(const Clock* clock, Random* random)
    : clock_(clock), random_(random), gives_way_one_in_(random->OneIn(2) ? 3 : 20) {
  current_ = this;
}

Threads::~Threads() { current_ = nullptr; }

bool Threads::Can(const Thread& thread) const {
  return !thread.ended && (!thread.waits || thread.until <= now());
}

bool Threads::CanTurn() const {
  return std::any_of(threads_.begin(), threads_.end(),
                     [this](const auto& thread) { return Can(*thread); });
}

absl::Duration Threads::due() const {
  absl::Duration due = absl::InfiniteDuration();
  for (const auto& thread : threads_) {
    if (!thread->ended) due = std::min(due, thread->until);
  }
  return due;
}

void Threads::Turn() {
  std::vector<Thread*> able;
  for (const auto& thread : threads_) {
    if (Can(*thread)) able.push_back(thread.get());
  }
  if (able.empty()) return;
  Thread* const thread = random_->Pick(able);
  SwitchTo(thread);
  if (thread->ended && thread->detached) Drop(thread);
}

void Threads::SwitchTo(Thread* thread) {
  Thread* const from = std::exchange(running_, thread);
  const int error = errno;
  swapcontext(&from->context, &thread->context);
  errno = error;
}

void Threads::GiveWay() {
  if (running_ == &main_) {
    if (CanTurn()) Turn();
  } else {
    SwitchTo(&main_);
  }
}

void Threads::Body() {
  Threads& threads = *current_;
  threads.running_->body();
  threads.running_->ended = true;
  threads.SwitchTo(&threads.main_);
}

uint64_t Threads::Start(std::function<void()> body) {
  auto thread = std::make_unique<Thread>();
  thread->id = ++last_id_;
  thread->body = std::move(body);
  if (stacks_.empty()) {
    thread->stack.reset(new char[kStackBytes]);
  } else {
    thread->stack = std::move(stacks_.back());
    stacks_.pop_back();
  }
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack.get();
  thread->context.uc_stack.ss_size = kStackBytes;
  makecontext(&thread->context, &Threads::Body, 0);
  threads_.push_back(std::move(thread));
  return last_id_;
}

void Threads::Join(uint64_t id) {
  const auto found = std::find_if(threads_.begin(), threads_.end(),
                                  [id](const auto& thread) { return thread->id == id; });
  Thread* const thread = found->get();
  while (!thread->ended) {
    if (!CanTurn()) {
      std::fputs("simulate: a thread that is waited for waits itself, for ever\n", stderr);
      std::abort();
    }
    Turn();
  }
  Drop(thread);
}

void Threads::Detach(uint64_t id) {
  for (const auto& thread : threads_) {
    if (thread->id == id) thread->detached = true;
  }
}

void Threads::Drop(Thread* thread) {
  stacks_.push_back(std::move(thread->stack));
  std::erase_if(threads_, [thread](const auto& each) { return each.get() == thread; });
}

void Threads::BeforeLock() {
  if (running_->locks == 0 && random_->OneIn(gives_way_one_in_)) GiveWay();
  ++running_->locks;
}

void Threads::AfterUnlock() {
  if (--running_->locks == 0 && random_->OneIn(gives_way_one_in_)) GiveWay();
}

bool Threads::WaitUnlocked(pthread_mutex_t* mutex, const void* condition, absl::Duration until) {
  // Bypasses the wrapped calls: no thread runs between the wait and the release.
  __real_pthread_mutex_unlock(mutex);
  --running_->locks;
  const bool notified = Wait(condition, until);
  ++running_->locks;
  __real_pthread_mutex_lock(mutex);
  return notified;
}

bool Threads::Wait(const void* condition, absl::Duration until) {
  Thread* const thread = running_;
  if (thread == &main_) {
    if (until > now()) main_waits_(until);
    return now() < until;
  }
  thread->waits = true;
  thread->condition = condition;
  thread->until = until;
  SwitchTo(&main_);
  thread->until = absl::InfiniteDuration();
  // Notified, or it is time.
  return !std::exchange(thread->waits, false);
}

void Threads::Notify(const void* condition, bool all) {
  std::vector<Thread*> waiting;
  for (const auto& thread : threads_) {
    if (thread->waits && thread->condition == condition) waiting.push_back(thread.get());
  }
  if (waiting.empty()) return;
  if (!all) waiting = {random_->Pick(waiting)};
  for (Thread* const thread : waiting) thread->waits = false;
}

}  // namespace vmeventd::simulation
