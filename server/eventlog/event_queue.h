#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The border between the watcher's loop thread, which pushes and never waits, and the pumps, which
// pop.
//
// Bounded: beyond `max_updates` updates or kMaxBytes of them, an update loses its event unless
// that is evidence (STARTED, STOPPED, INTENT_*, or somebody waits for it by `on_public`), and
// beyond twice as much it loses any event. Its status and its saved state wait on, the newest of
// each run. One GAP of the node, behind all that waited, counts the dropped ones.
class EventQueue : public EventSink {
 public:
  static constexpr size_t kMaxBytes = 64 << 20;
  // Wait ends at the turn's end, or once so many updates wait: a pump that wakes for each
  // would take the processor from the loop, which has the shutdown files of the others to write
  // yet.
  static constexpr size_t kMaxHeldBack = 256;

  // Limit of what Pop takes at once, so that the events of a burst are written and published while
  // it lasts.
  static constexpr size_t kBatchBytes = 4 << 20;

  explicit EventQueue(size_t max_updates) : max_updates_(max_updates) {}

  void Push(VmUpdate update) override;
  void EndTurn() override;

  struct Batch {
    std::vector<VmUpdate> updates;  // in order
    bool closed = false;            // nothing will follow
  };
  // Waits at most `timeout` for updates, if it may take them, or a Wake. `may_take` is called with
  // the queue's lock held. Any thread.
  void Wait(absl::Duration timeout, absl::FunctionRef<bool()> may_take);
  // Takes what waits, up to kBatchBytes, or without `take` nothing. One thread at a time.
  Batch Pop(bool take = true);

  // Declares that nothing will follow. Any thread.
  void Close();
  // Ends a Wait, or the next one. Any thread.
  void Wake();

  size_t depth() const {
    const MutexLock lock(&mutex_);
    return updates_.size() + left_.size();
  }
  size_t max_updates() const { return max_updates_; }
  // Returns whether Wait returns at once.
  bool ready(bool take) const {
    const MutexLock lock(&mutex_);
    return ReadyLocked(take);
  }
  uint64_t dropped_events() const {
    const MutexLock lock(&mutex_);
    return dropped_;
  }

 private:
  bool ReadyLocked(bool take) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return woken_ || (take && !(updates_.empty() && left_.empty()));
  }
  void PushLocked(VmUpdate&& update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_updates_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<VmUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  // Updates without their events, newer than those of updates_, by run.
  std::map<std::string, VmUpdate> left_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // size of both
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_unreported_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_drop_time_ ABSL_GUARDED_BY(mutex_);
  size_t held_back_ ABSL_GUARDED_BY(mutex_) = 0;  // pushed since Pop was woken last
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
