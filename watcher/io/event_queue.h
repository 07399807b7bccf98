#ifndef VMEVENTD_WATCHER_IO_EVENT_QUEUE_H_
#define VMEVENTD_WATCHER_IO_EVENT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "watcher/core/event_sink.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

// The border between the watcher's loop thread, which pushes and never waits, and the server's
// pump thread, which pops.
//
// Bounded: at `max_updates` waiting updates, an update whose event is not STARTED, STOPPED,
// GUEST_SHUTDOWN, INTENT_* or GAP loses its event but keeps its status and its saved_run, of which
// only the newest of a VM wait; the losses are counted, and told by one GAP event (without a VM) at
// the end of the next batch. What is never dropped is bounded by the number of runs, and of
// requests about intents.
class EventQueue : public EventSink {
 public:
  explicit EventQueue(size_t max_updates) : max_updates_(max_updates) {}

  void Push(VmUpdate update) override;
  void SetDirectories(std::vector<WatchedDirectory> directories) override;

  struct Batch {
    std::vector<VmUpdate> updates;              // in order
    std::vector<WatchedDirectory> directories;  // as they are now
    bool closed = false;                        // nothing will follow
  };
  // Takes everything that waits; waits for something at most `timeout`. Pump thread.
  Batch Pop(absl::Duration timeout);

  // Says that nothing will follow, and wakes Pop. Any thread.
  void Close();
  // Makes a waiting Pop return, perhaps with nothing. Any thread.
  void Wake();

  // The updates that wait now, and how many may wait before events are dropped. Any thread.
  size_t depth() const;
  size_t max_updates() const { return max_updates_; }
  uint64_t dropped_events() const;

 private:
  void PushWhenFull(VmUpdate update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_updates_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<VmUpdate> updates_ ABSL_GUARDED_BY(mutex_);
  std::vector<WatchedDirectory> directories_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t dropped_untold_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time last_drop_time_ ABSL_GUARDED_BY(mutex_);
  // Where in updates_ a VM's status alone waits, of those that came while the queue was full.
  absl::flat_hash_map<std::string, size_t> waiting_status_ ABSL_GUARDED_BY(mutex_);
  bool directories_changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_IO_EVENT_QUEUE_H_
