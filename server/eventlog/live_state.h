#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_block.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

// The ring over the newest events, as blocks, in order; between two of them there may be sequences
// that were given up. Bounded by `options`: the oldest blocks go first, the newest always stays.
// Not thread-safe; the owner locks.
class EventRing {
 public:
  // Begins empty, after the sequence `newest`.
  explicit EventRing(EventRingOptions options, uint64_t newest = 0)
      : options_(options), newest_(newest) {}

  // `block` begins at newest() + 1.
  void Append(EventBlockPtr block);
  // Puts `block` in the place of the one with the same sequences, if that is still here.
  void Replace(EventBlockPtr block);
  // Puts `gap`, a block of one event, in the place of all blocks from `first` on up to its own
  // sequence: they hold nothing else. Removes what is left of them in the ring.
  void PutGap(uint64_t first, EventBlockPtr gap);

  // The newest sequence ever appended, or what it began after; and the oldest that is still here,
  // newest() + 1 if none is.
  uint64_t newest() const { return newest_; }
  uint64_t oldest() const {
    return blocks_.empty() ? newest_ + 1 : blocks_.front()->first_sequence();
  }
  size_t memory() const { return memory_; }

  // Blocks in order from the one that holds `sequence` on or, `backward`, to older ones: as many as
  // hold `max_bytes` (at least one). If that one is gone, they begin at the oldest, or there are
  // none before it.
  std::vector<EventBlockPtr> Blocks(uint64_t sequence, size_t max_bytes, bool backward) const;

 private:
  // The index of the block that holds `sequence`, clamped to what is here.
  size_t IndexOf(uint64_t sequence) const;

  const EventRingOptions options_;
  std::deque<EventBlockPtr> blocks_;
  uint64_t newest_;
  size_t memory_ = 0;
};

// Range of the journal: see EventRange.
struct Retained {
  uint64_t oldest = 1;
  uint64_t unbroken_from = 1;
};

// The events and VMs that are public: the newest events in a ring, and the registry, under one
// lock, so that an answer about VMs is as of one sequence. The journal has what the ring no longer
// holds. The pump writes, every thread reads. No call blocks for longer than it takes to copy
// pointers.
class LiveState {
 public:
  // Changes that become public in one step.
  struct Step {
    std::vector<EventBlockPtr> blocks;
    std::vector<VmRecordPtr> vms;  // in order
    Retained retained;
  };
  // Sequences go on after `newest`.
  LiveState(LiveStateOptions options, JournalIdentity identity, Retained retained, uint64_t newest);

  // Pump thread.
  void Publish(Step step);
  // Replaces public blocks by the same events, durable now.
  void Replace(std::vector<EventBlockPtr> blocks);
  // See EventRing::PutGap.
  void PutGap(uint64_t first, EventBlockPtr gap) {
    const MutexLock lock(&mutex_);
    ring_.PutGap(first, std::move(gap));
  }
  // Changes to another journal: it keeps later events, and earlier ones are no longer retained.
  void ChangeJournal(JournalIdentity identity) {
    const MutexLock lock(&mutex_);
    identity_ = std::make_shared<const JournalIdentity>(std::move(identity));
    retained_ = {ring_.newest() + 1, ring_.newest() + 1};
  }
  void SetJournalWritable(bool writable) {
    const MutexLock lock(&mutex_);
    journal_writable_ = writable;
  }
  void SetRetained(Retained retained) {
    const MutexLock lock(&mutex_);
    retained_ = retained;
  }

  JournalIdentityPtr identity() const {
    const MutexLock lock(&mutex_);
    return identity_;
  }
  std::string journal_id() const { return identity()->journal_id; }

  // See EventLog.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  ReadResult Read(uint64_t sequence, const ReadOptions& options) const;
  EventLog::Health health() const;  // without the queue's part
  EventLog::VmPage ListVmsAfter(const VmKey* after, size_t limit) const {
    const MutexLock lock(&mutex_);
    return {vms_.ListAfter(after, limit), ring_.newest()};
  }
  std::vector<VmRecordPtr> VmsNamed(absl::string_view name) const {
    const MutexLock lock(&mutex_);
    return vms_.Named(name);
  }
  std::vector<VmRecordPtr> VmsWithUuid(const Uuid& uuid) const {
    const MutexLock lock(&mutex_);
    return vms_.WithUuid(uuid);
  }
  VmRecordPtr FindVm(const VmKey& key) const {
    const MutexLock lock(&mutex_);
    return vms_.Find(key);
  }
  std::vector<VmRecordPtr> LastStoppedVms(size_t limit) const {
    const MutexLock lock(&mutex_);
    return vms_.LastStopped(limit);
  }

  EventRange range() const {
    const MutexLock lock(&mutex_);
    return RangeLocked();
  }
  int vm_count() const {
    const MutexLock lock(&mutex_);
    return static_cast<int>(vms_.running_count());
  }
  uint64_t vms_version() const {
    const MutexLock lock(&mutex_);
    return vms_version_;
  }
  VmCounts vm_counts() const {
    const MutexLock lock(&mutex_);
    return vms_.counts();
  }

 private:
  // The VMs that run, as of `begin->cursor`, which it sets.
  absl::Status BeginSnapshot(StreamBegin* begin) const;

  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  EventRange RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const uint64_t after_newest = ring_.newest() + 1;
    return {std::min(retained_.oldest, after_newest), ring_.newest(),
            std::min(retained_.unbroken_from, after_newest)};
  }

  const size_t max_snapshot_bytes_;

  // One snapshot is made at a time, so that streams that come together share it.
  mutable Mutex snapshot_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  const SnapshotMaker snapshots_;
  mutable std::weak_ptr<const VmSnapshot> snapshot_ ABSL_GUARDED_BY(snapshot_mutex_);  // the latest
  mutable uint64_t snapshot_version_ ABSL_GUARDED_BY(snapshot_mutex_) = 0;  // version of vms_

  mutable Mutex mutex_;
  JournalIdentityPtr identity_ ABSL_GUARDED_BY(mutex_);
  Retained retained_ ABSL_GUARDED_BY(mutex_);
  bool journal_writable_ ABSL_GUARDED_BY(mutex_) = true;
  EventRing ring_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  uint64_t vms_version_ ABSL_GUARDED_BY(mutex_) = 0;  // grows with each change
};

}  // namespace vmeventd
