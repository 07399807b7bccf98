#ifndef VMEVENTD_SERVER_EVENT_STORE_H_
#define VMEVENTD_SERVER_EVENT_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/event_log.h"
#include "server/event_matcher.h"
#include "server/vm_registry.h"
#include "watcher/core/vm_event.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

struct EventStoreOptions {
  EventLogOptions log;
  size_t max_stopped = 10'000;
};

// Where a stream or a listing begins.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct AfterSequence {
  uint64_t sequence = 0;
  std::string journal_id;
};
struct Since {
  absl::Time time;
};
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, AfterSequence, Since>;

// What a stream begins with: everything up to `cursor` is behind it.
struct StreamBegin {
  uint64_t cursor = 0;
  std::vector<VmRecordPtr> snapshot;  // as of `cursor`
};

// The events and VMs that are public: the log and the registry under one lock, so that an answer
// about VMs is as of one sequence. The pump writes, every thread reads. No call blocks for longer
// than it takes to copy pointers.
class EventStore {
 public:
  // What becomes public in one step.
  struct Step {
    std::vector<EventBlockPtr> blocks;
    struct VmChange {
      VmRecordPtr put;     // null: forget
      VmStatus forgotten;  // whose entry, if so
    };
    std::vector<VmChange> vms;  // in order
  };
  // The bounds of what is retained.
  struct Range {
    uint64_t oldest = 1;  // newest + 1 if nothing is retained
    uint64_t newest = 0;
  };
  struct Page {
    std::vector<EventBlockPtr> blocks;
    Range range;
  };
  struct VmPage {
    std::vector<VmRecordPtr> vms;
    uint64_t sequence = 0;  // which they are as of
  };

  EventStore(EventStoreOptions options, std::string journal_id);

  // Pump thread.
  void Publish(Step step);
  void SetDirectories(std::vector<WatchedDirectory> directories);

  // Where sequences come from; a new one for each start of the daemon.
  const std::string& journal_id() const { return journal_id_; }

  // OUT_OF_RANGE names what is retained. `names` narrows the snapshot.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start, const NameMatcher& names) const;

  // See EventLog::BlocksFrom and BlocksBackFrom. A `sequence` below range.oldest has been evicted.
  Page ReadFrom(uint64_t sequence, size_t max_bytes) const;
  Page ReadBackFrom(uint64_t sequence, size_t max_bytes) const;

  // See VmRegistry.
  VmPage ListVmsAfter(const VmKey* after, size_t limit) const;
  std::vector<VmRecordPtr> VmsNamed(absl::string_view name) const;
  VmRecordPtr FindVm(const VmKey& key) const;

  Range range() const;
  int vm_count() const;
  std::vector<WatchedDirectory> directories() const;

 private:
  absl::StatusOr<uint64_t> CursorOf(const WatchStart& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> CursorSince(const Since& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Range RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return {log_.oldest(), log_.newest()};
  }

  const std::string journal_id_;
  mutable Mutex mutex_;
  EventLog log_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  std::vector<WatchedDirectory> directories_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_STORE_H_
