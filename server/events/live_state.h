#ifndef VMEVENTD_SERVER_EVENTS_LIVE_STATE_H_
#define VMEVENTD_SERVER_EVENTS_LIVE_STATE_H_

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
#include "base/mutex.h"
#include "server/events/ring.h"
#include "server/events/vm_registry.h"
#include "server/events/vm_snapshot.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

struct LiveStateOptions {
  EventRingOptions ring;
  size_t max_stopped = 10'000;
  // Memory limit of snapshots of different moments that streams still send.
  size_t max_snapshot_bytes = size_t{192} << 20;
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

// Start of a stream: everything up to `cursor` is behind it.
struct StreamBegin {
  uint64_t cursor = 0;
  // What follows the cursor, where that might be gone from the ring and the journal when it is
  // asked for next.
  std::vector<EventBlockPtr> blocks;
  // Set: the journal is to say where it begins, which is behind `cursor`. InfinitePast: at the
  // oldest event.
  std::optional<absl::Time> locate;
  absl::Time since = absl::InfinitePast();  // earlier ones are left out
  VmSnapshotPtr snapshot;                   // as of `cursor`, where it was asked for
};

// Which journal sequences are of, and of which node that is.
struct JournalIdentity {
  std::string journal_id;
  std::string token_key;  // signs page tokens
  std::string node_id;    // empty: not known
};
using JournalIdentityPtr = std::shared_ptr<const JournalIdentity>;

// Range of the journal.
struct Retained {
  uint64_t oldest = 1;  // event; the one after the newest if there is none
  // From here on nothing is missing but what a GAP names: `oldest`, or the first of the sequences
  // that were given up just before it. A stream may begin with any of them.
  uint64_t unbroken_from = 1;
};

// The events and VMs that are public: the newest events in a ring, and the registry, under one
// lock, so that an answer about VMs is as of one sequence. What the ring no longer holds is in the
// journal. The pump writes, every thread reads. No call blocks for longer than it takes to copy
// pointers.
class LiveState {
 public:
  // Changes that become public in one step.
  struct Step {
    std::vector<EventBlockPtr> blocks;
    std::vector<VmRecordPtr> vms;  // in order
    Retained retained;
  };
  // The bounds of what is retained, in the ring or in the journal.
  struct Range {
    uint64_t oldest = 1;  // newest + 1 if nothing is retained
    uint64_t newest = 0;
    uint64_t unbroken_from = 1;  // see Retained
  };
  struct Page {
    std::vector<EventBlockPtr> blocks;
    Range range;
    uint64_t ring_oldest = 1;  // older ones are in the journal only
  };
  struct VmPage {
    std::vector<VmRecordPtr> vms;
    uint64_t sequence = 0;  // which they are as of
  };

  // Sequences go on after `newest`.
  LiveState(LiveStateOptions options, JournalIdentity identity, Retained retained, uint64_t newest);

  // Pump thread.
  void Publish(Step step);
  void SetDirectories(std::vector<WatchedDirectory> directories);
  // The same events as before, durable now.
  void Replace(std::vector<EventBlockPtr> blocks);
  // See EventRing::PutGap.
  void PutGap(uint64_t first, EventBlockPtr gap);
  // What follows is kept in another journal, and what was before it is no longer retained.
  void ChangeJournal(JournalIdentity identity);
  void SetJournalWritable(bool writable);
  void SetRetained(Retained retained);

  JournalIdentityPtr identity() const;
  std::string journal_id() const { return identity()->journal_id; }
  bool journal_writable() const;

  // OUT_OF_RANGE names what is retained. RESOURCE_EXHAUSTED: streams that read slowly hold so many
  // different snapshots that there is no memory for one more.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;

  // See EventRing::BlocksFrom and BlocksBackFrom: of the ring. A `sequence` below
  // range.unbroken_from is no longer retained.
  Page ReadFrom(uint64_t sequence, size_t max_bytes) const;
  Page ReadBackFrom(uint64_t sequence, size_t max_bytes) const;

  // See VmRegistry.
  VmPage ListVmsAfter(const VmKey* after, size_t limit) const;
  std::vector<VmRecordPtr> VmsNamed(absl::string_view name) const;
  VmRecordPtr FindVm(const VmKey& key) const;

  Range range() const;
  int vm_count() const;
  // Grows with each change of a VM.
  uint64_t vms_version() const;
  VmCounts vm_counts() const;
  // Contents of the ring.
  struct RingSize {
    uint64_t events = 0;
    size_t bytes = 0;
  };
  RingSize ring_size() const;
  std::vector<WatchedDirectory> directories() const;
  // Memory of the snapshots that streams still send.
  size_t snapshot_bytes() const { return snapshots_.memory(); }

 private:
  // The VMs that run, as of `begin->cursor`, which it sets.
  absl::Status BeginSnapshot(StreamBegin* begin) const;

  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginOldest(StreamBegin* begin) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Range RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const uint64_t after_newest = ring_.newest() + 1;
    return {std::min(retained_.oldest, after_newest), ring_.newest(),
            std::min(retained_.unbroken_from, after_newest)};
  }

  const size_t max_snapshot_bytes_;

  // One snapshot is made at a time, so that streams that come together share it.
  mutable Mutex snapshot_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  const SnapshotMaker snapshots_;
  mutable std::weak_ptr<const VmSnapshot> snapshot_ ABSL_GUARDED_BY(snapshot_mutex_);  // the latest
  mutable uint64_t snapshot_version_ ABSL_GUARDED_BY(snapshot_mutex_) = 0;             // of vms_

  mutable Mutex mutex_;
  JournalIdentityPtr identity_ ABSL_GUARDED_BY(mutex_);
  Retained retained_ ABSL_GUARDED_BY(mutex_);
  bool journal_writable_ ABSL_GUARDED_BY(mutex_) = true;
  EventRing ring_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  uint64_t vms_version_ ABSL_GUARDED_BY(mutex_) = 0;  // grows with each change
  std::vector<WatchedDirectory> directories_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENTS_LIVE_STATE_H_
