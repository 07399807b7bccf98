#ifndef VMEVENTD_SERVER_EVENT_STORE_H_
#define VMEVENTD_SERVER_EVENT_STORE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  // Set: the journal has to be asked which cursor that is, and `cursor` counts for nothing.
  std::optional<absl::Time> since;
  std::vector<VmRecordPtr> snapshot;  // as of `cursor`
};

// Which journal sequences are of.
struct JournalIdentity {
  std::string journal_id;
  std::string token_key;  // what page tokens are signed with
};
using JournalIdentityPtr = std::shared_ptr<const JournalIdentity>;

// What the journal retains.
struct Retained {
  uint64_t oldest = 1;
  absl::Time deleted_until = absl::InfinitePast();  // the newest observe_time that was deleted
};

// The events and VMs that are public: the newest events in a ring, and the registry, under one
// lock, so that an answer about VMs is as of one sequence. What the ring no longer holds is in the
// journal. The pump writes, every thread reads. No call blocks for longer than it takes to copy
// pointers.
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
    Retained retained;
  };
  // The bounds of what is retained, in the ring or in the journal.
  struct Range {
    uint64_t oldest = 1;  // newest + 1 if nothing is retained
    uint64_t newest = 0;
  };
  struct Page {
    std::vector<EventBlockPtr> blocks;
    Range range;
    uint64_t ring_oldest = 1;  // what is older is in the journal only
  };
  struct VmPage {
    std::vector<VmRecordPtr> vms;
    uint64_t sequence = 0;  // which they are as of
  };

  // Sequences go on after `newest`.
  EventStore(EventStoreOptions options, JournalIdentity identity, Retained retained,
             uint64_t newest);

  // Pump thread.
  void Publish(Step step);
  void SetDirectories(std::vector<WatchedDirectory> directories);
  // The same events as before, durable now.
  void Replace(std::vector<EventBlockPtr> blocks);
  // What follows is kept in another journal, and what was before it is no longer retained.
  void ChangeJournal(JournalIdentity identity);
  void SetJournalWritable(bool writable);
  void SetRetained(Retained retained);

  JournalIdentityPtr identity() const;
  std::string journal_id() const { return identity()->journal_id; }
  bool journal_writable() const;

  // OUT_OF_RANGE names what is retained. `names` narrows the snapshot.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start, const NameMatcher& names) const;

  // See EventLog::BlocksFrom and BlocksBackFrom: of the ring. A `sequence` below range.oldest is no
  // longer retained.
  Page ReadFrom(uint64_t sequence, size_t max_bytes) const;
  Page ReadBackFrom(uint64_t sequence, size_t max_bytes) const;

  // The first event in the ring that was observed at `time` or later; newest + 1 if there is none.
  uint64_t FirstInRingSince(absl::Time time) const;

  // See VmRegistry.
  VmPage ListVmsAfter(const VmKey* after, size_t limit) const;
  std::vector<VmRecordPtr> VmsNamed(absl::string_view name) const;
  VmRecordPtr FindVm(const VmKey& key) const;

  Range range() const;
  int vm_count() const;
  VmCounts vm_counts() const;
  // What the ring holds.
  struct RingSize {
    uint64_t events = 0;
    size_t bytes = 0;
  };
  RingSize ring_size() const;
  std::vector<WatchedDirectory> directories() const;

 private:
  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status BeginSince(const Since& start, StreamBegin* begin) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Range RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return {std::min(retained_.oldest, log_.newest() + 1), log_.newest()};
  }

  mutable Mutex mutex_;
  JournalIdentityPtr identity_ ABSL_GUARDED_BY(mutex_);
  Retained retained_ ABSL_GUARDED_BY(mutex_);
  bool journal_writable_ ABSL_GUARDED_BY(mutex_) = true;
  EventLog log_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  std::vector<WatchedDirectory> directories_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_STORE_H_
