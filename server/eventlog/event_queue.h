#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The border between the watcher's loop thread, which pushes and never waits, and the pump thread,
// which pops.
//
// Bounded: beyond `max_updates` updates or `max_bytes` of them, an update loses its event unless
// that is evidence (STARTED, STOPPED, INTENT_*, or somebody waits for it by `on_public`), and
// beyond twice as much it loses any event. Its status and its saved state wait on, the newest of
// each run. One GAP of the node, at the end of the next batch, counts the dropped ones.
class EventQueue : public EventSink {
 public:
  static constexpr size_t kMaxBytes = 64 << 20;
  // Pop wakes at the turn's end, or once so many updates wait for it: a pump that wakes for each
  // would take the processor from the loop, which has the shutdown files of the others to write
  // yet.
  static constexpr size_t kMaxHeldBack = 256;

  explicit EventQueue(size_t max_updates, size_t max_bytes = kMaxBytes)
      : max_updates_(max_updates), max_bytes_(max_bytes) {}

  void Push(VmUpdate update) override;
  void EndTurn() override;
  void SetDirectories(std::vector<WatchedDirectory> directories) override;

  struct Batch {
    std::vector<VmUpdate> updates;  // in order
    bool closed = false;            // nothing will follow
  };
  // Takes everything that waits; waits for something at most `timeout`. Pump thread.
  Batch Pop(absl::Duration timeout);
  // Waits for a Wake, or a change of the directories, at most `timeout`. Pump thread.
  void WaitForWake(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_; });
    woken_ = false;
  }

  // Declares that nothing will follow, and wakes Pop. Any thread.
  void Close();
  // Makes a waiting Pop return, perhaps with nothing. Any thread.
  void Wake();

  size_t depth() const {
    const MutexLock lock(&mutex_);
    return updates_.size() + left_.size();
  }
  size_t max_updates() const { return max_updates_; }
  // Returns whether Pop returns at once.
  bool ready() const {
    const MutexLock lock(&mutex_);
    return ReadyLocked();
  }
  std::vector<WatchedDirectory> directories() const;
  uint64_t dropped_events() const {
    const MutexLock lock(&mutex_);
    return dropped_;
  }

 private:
  bool ReadyLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !updates_.empty() || !left_.empty() || woken_;
  }
  void PushLocked(VmUpdate&& update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_updates_;
  const size_t max_bytes_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<VmUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  // Updates without their events, newer than those of updates_, by run.
  std::map<std::string, VmUpdate> left_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // size of both
  // Copied by readers without the lock, so that Push waits for none.
  std::shared_ptr<const std::vector<WatchedDirectory>> directories_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_unreported_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_drop_time_ ABSL_GUARDED_BY(mutex_);
  size_t held_back_ ABSL_GUARDED_BY(mutex_) = 0;  // pushed since Pop was woken last
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
