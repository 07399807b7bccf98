#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/shared_text.h"
#include "watcher/core/event_sink.h"

namespace vmeventd {

// The border between the watcher's loop thread, which pushes and never waits, and the server's
// pump thread, which pops.
//
// Bounded: the queue is full while `max_updates` updates or `max_bytes` of them wait. An update
// that comes then loses its event, but for STARTED, STOPPED, INTENT_DECLARED, INTENT_WITHDRAWN and
// what has an `on_public`. Its status and its saved_run are kept, the newest of each run alone. A
// run that began and ended while the queue was full is left out as a whole. So what waits beyond
// the bound is bounded by the processes that live, and by the requests about intents. The events
// that were left out are counted, and one GAP (without a VM) at the end of the next batch reports
// them.
class EventQueue : public EventSink {
 public:
  static constexpr size_t kMaxBytes = 64 << 20;

  explicit EventQueue(size_t max_updates, size_t max_bytes = kMaxBytes)
      : max_updates_(max_updates), max_bytes_(max_bytes) {}

  // Pop wakes at the turn's end, or once kMaxHeldBack updates wait for it: a pump that wakes for
  // each would take the processor from the loop, which has the shutdown files of the others to
  // write yet.
  static constexpr size_t kMaxHeldBack = 256;
  void Push(VmUpdate update) override;
  void EndTurn() override;
  void SetDirectories(std::vector<WatchedDirectory> directories) override;

  struct Batch {
    std::vector<VmUpdate> updates;  // in order
    bool closed = false;            // nothing will follow
  };
  // Takes everything that waits; waits for something at most `timeout`. Without `take_updates` they
  // go on waiting, and are not waited for. Pump thread.
  Batch Pop(absl::Duration timeout, bool take_updates = true);

  // Declares that nothing will follow, and wakes Pop. Any thread.
  void Close();
  // Makes a waiting Pop return, perhaps with nothing. Any thread.
  void Wake();

  // The updates that wait now, and how many may wait before events are dropped. Any thread.
  size_t depth() const {
    MutexLock lock(&mutex_);
    return updates_.size() - empty_;
  }
  size_t max_updates() const { return max_updates_; }
  // Returns whether Pop returns at once for a Wake or a change of the directories.
  bool woken() const {
    const MutexLock lock(&mutex_);
    return woken_;
  }
  std::vector<WatchedDirectory> directories() const;
  // Approximate memory of the waiting updates.
  size_t bytes() const {
    MutexLock lock(&mutex_);
    return bytes_;
  }
  uint64_t dropped_events() const {
    MutexLock lock(&mutex_);
    return dropped_;
  }

 private:
  void PushLocked(VmUpdate&& update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PushWhenFull(VmUpdate&& update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Append(VmUpdate&& update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountDropped(const VmEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops a run that `stopped` ended, if nothing of it has left the queue. Returns whether it did.
  bool DropWholeRun(const VmUpdate& stopped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives the places of dropped updates back.
  void Compact() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_updates_;
  const size_t max_bytes_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<VmUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // size of updates_
  size_t empty_ ABSL_GUARDED_BY(mutex_) = 0;  // number of updates_ that were dropped
  // Copied by readers without the lock, so that Push waits for none.
  std::shared_ptr<const std::vector<WatchedDirectory>> directories_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_unreported_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_drop_time_ ABSL_GUARDED_BY(mutex_);
  // Places in updates_ of the statuses that came while the queue was full and wait alone, by VM.
  absl::flat_hash_map<SharedText, size_t> waiting_status_ ABSL_GUARDED_BY(mutex_);
  // Places in updates_ at which each update of a run waits, for the runs whose STARTED waits as
  // well.
  absl::flat_hash_map<SharedText, std::vector<size_t>> new_runs_ ABSL_GUARDED_BY(mutex_);
  size_t last_taken_ ABSL_GUARDED_BY(mutex_) = 0;  // size of the last batch: the next is alike
  size_t held_back_ ABSL_GUARDED_BY(mutex_) = 0;   // pushed since Pop was woken last
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
