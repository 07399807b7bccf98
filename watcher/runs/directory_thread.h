#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace vmeventd {

// Runs tasks that the file system of a watched directory may block for any time, on its own thread:
// a directory that hangs blocks only its own thread. Only if the system permits no thread, which is
// logged, does the loop's thread run them. Tasks run one at a time, in order, and the
// functions that they return are called on the loop's thread in the same order. Loop thread.
class DirectoryThread {
 public:
  // The rest of a task, called on the loop's thread.
  using Then = absl::AnyInvocable<void()>;
  // Runs on the directory's thread, possibly after the destructor: it may refer only to what it
  // owns.
  using Task = absl::AnyInvocable<Then()>;

  // A task that takes longer than this counts as hanging, and so does its directory.
  static constexpr absl::Duration kHangs = absl::Seconds(5);
  // Time for which Run() waits for a task, which usually takes microseconds; what it returns is
  // then called within Run(). A slower directory costs the loop this time at most once in kSlow.
  static constexpr absl::Duration kPatience = absl::Milliseconds(10);
  static constexpr absl::Duration kSlow = absl::Seconds(1);

  // `loop` outlives it. `on_change` is called when hangs() has changed.
  DirectoryThread(EventLoop* loop, absl::Duration patience, std::function<void()> on_change);
  ~DirectoryThread();
  DirectoryThread(const DirectoryThread&) = delete;
  DirectoryThread& operator=(const DirectoryThread&) = delete;

  // Runs `task`, and then calls the function that it returned: within this call or, if the task
  // takes longer than the patience, from the loop. If the directory hangs, `dropped` is called
  // instead, within this call or later; if such a task ever ends, its function is destroyed
  // uncalled.
  void Run(Task task, Then dropped);
  // Returns whether a task has not ended for kHangs. Until it does, Run() drops.
  bool hangs() const { return hangs_; }

 private:
  struct State;
  struct Pending {
    uint64_t id = 0;
    Then dropped;
  };

  static void Loop(const std::shared_ptr<State>& state);
  // Starts the thread if there is none. Returns whether there is one; logs once if there is not.
  bool HasThread();
  // Calls the functions that the ended tasks returned.
  void CallEnded();
  // Call it when the oldest task has changed, or there is none.
  void WatchOldest();
  void OnSilence();

  EventLoop* const loop_;
  const absl::Duration patience_;
  const std::function<void()> on_change_;
  const std::shared_ptr<State> state_;
  std::thread thread_;  // runs Loop(); none before the first task
  std::deque<Pending> pending_;
  uint64_t last_id_ = 0;
  absl::Duration slow_until_ = -absl::InfiniteDuration();
  int silent_ = 0;  // seconds for which the oldest task has been running or waiting
  TimerId silence_;
  bool hangs_ = false;
  bool lack_logged_ = false;  // no thread could be started
};

}  // namespace vmeventd
