#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/journal_writer.h"
#include "server/events/event_block.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

// The events and VMs that are public: the newest events in memory, and the registry, under one
// lock, so that an answer about VMs is as of one sequence. The journal has what memory no longer
// holds. The pump writes, every thread reads. No call blocks for longer than it takes to copy
// pointers.
class LiveState {
 public:
  // Changes that become public in one step.
  struct Step {
    std::vector<EventBlockPtr> blocks;
    std::vector<VmRecordPtr> vms;  // in order
    uint64_t newest = 0;           // the last sequence given, whose event may be lost
  };
  // Sequences continue after `newest`.
  LiveState(LiveStateOptions options, JournalIdentity identity, uint64_t newest);

  // Pump thread.
  void Publish(Step step, bool durable);
  void SetWritten(const JournalWriter::Progress& written) {
    const MutexLock lock(&mutex_);
    written_ = written;
    Trim();
  }
  // Removes the events [first, last], which the journal will never have.
  void Drop(uint64_t first, uint64_t last);
  const JournalIdentity& identity() const { return identity_; }

  // See EventLog.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  ReadResult Read(uint64_t sequence, const ReadOptions& options) const;
  EventLog::Health health() const;  // without the queue's part
  EventLog::VmPage ListVmsAfter(const VmKey* after, size_t limit) const {
    const MutexLock lock(&mutex_);
    return {vms_.ListAfter(after, limit), newest_};
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
  VmCounts vm_counts() const {
    const MutexLock lock(&mutex_);
    return vms_.counts();
  }

 private:
  // Limit of the snapshots that streams still send: beyond it, a stream begins with the latest of
  // them, and with the events since.
  static constexpr size_t kMaxSnapshots = 64;

  StreamBegin BeginSnapshot() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  EventRange RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The oldest event in memory; newest + 1 if there is none.
  uint64_t OldestInMemory() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return blocks_.empty() ? newest_ + 1 : blocks_.front()->first_sequence();
  }
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LiveStateOptions options_;
  const JournalIdentity identity_;

  mutable Mutex mutex_;
  JournalWriter::Progress written_ ABSL_GUARDED_BY(mutex_);
  bool published_durable_ ABSL_GUARDED_BY(mutex_) = true;
  // In order; between two of them there may be sequences that are missing.
  std::deque<EventBlockPtr> blocks_ ABSL_GUARDED_BY(mutex_);
  size_t memory_ ABSL_GUARDED_BY(mutex_) = 0;  // size of blocks_
  const uint64_t began_after_;
  uint64_t newest_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  uint64_t vms_version_ ABSL_GUARDED_BY(mutex_) = 0;  // grows with each change
  mutable std::vector<std::weak_ptr<const VmSnapshot>> snapshots_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
