#include "server/event_store.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/quote.h"

namespace vmeventd {

EventStore::EventStore(EventStoreOptions options, std::string journal_id)
    : journal_id_(std::move(journal_id)), log_(options.log), vms_(options.max_stopped) {}

void EventStore::Publish(Step step) {
  const MutexLock lock(&mutex_);
  for (EventBlockPtr& block : step.blocks) log_.Append(std::move(block));
  for (Step::VmChange& change : step.vms) {
    if (change.put != nullptr) {
      vms_.Put(std::move(change.put));
    } else {
      const VmRef& ref = change.forgotten.ref;
      vms_.Forget({ref.name, ref.run_id,
                   ref.run_id.empty() ? absl::string_view(change.forgotten.monitor_path)
                                      : absl::string_view()});
    }
  }
}

void EventStore::SetDirectories(std::vector<WatchedDirectory> directories) {
  const MutexLock lock(&mutex_);
  directories_ = std::move(directories);
}

absl::StatusOr<uint64_t> EventStore::CursorAfter(const AfterSequence& start) const {
  const Range range = RangeLocked();
  if (start.journal_id != journal_id_) {
    return absl::OutOfRangeError(absl::StrCat(
        "journal_id: ", Quote(start.journal_id), " is not this daemon's journal, ",
        Quote(journal_id_), ": its sequences mean nothing here; start from a snapshot"));
  }
  if (start.sequence > range.newest) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence: ", start.sequence,
                                              " is beyond the newest sequence, ", range.newest));
  }
  if (start.sequence + 1 < range.oldest) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence: ", start.sequence,
                                              " is too old: the oldest retained sequence is ",
                                              range.oldest));
  }
  return start.sequence;
}

absl::StatusOr<uint64_t> EventStore::CursorSince(const Since& start) const {
  if (log_.EvictedSince(start.time)) {
    return absl::OutOfRangeError(absl::StrCat(
        "since: ", absl::FormatTime(absl::RFC3339_full, start.time, absl::UTCTimeZone()),
        " is too old: the oldest retained sequence is ", log_.oldest()));
  }
  return log_.FirstSince(start.time) - 1;
}

absl::StatusOr<uint64_t> EventStore::CursorOf(const WatchStart& start) const {
  if (const auto* after = std::get_if<AfterSequence>(&start)) return CursorAfter(*after);
  if (const auto* since = std::get_if<Since>(&start)) return CursorSince(*since);
  if (std::holds_alternative<FromOldest>(start)) return log_.oldest() - 1;
  return log_.newest();
}

absl::StatusOr<StreamBegin> EventStore::Begin(const WatchStart& start,
                                              const NameMatcher& names) const {
  StreamBegin begin;
  {
    const MutexLock lock(&mutex_);
    const absl::StatusOr<uint64_t> cursor = CursorOf(start);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
    if (std::holds_alternative<FromSnapshot>(start)) begin.snapshot = vms_.Running();
  }
  // Not under the lock: a long list of patterns takes its time.
  const auto unwanted = [&names](const VmRecordPtr& vm) { return !names.Matches(vm->name()); };
  begin.snapshot.erase(std::remove_if(begin.snapshot.begin(), begin.snapshot.end(), unwanted),
                       begin.snapshot.end());
  return begin;
}

EventStore::Page EventStore::ReadFrom(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  return {log_.BlocksFrom(sequence, max_bytes), RangeLocked()};
}

EventStore::Page EventStore::ReadBackFrom(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  return {log_.BlocksBackFrom(sequence, max_bytes), RangeLocked()};
}

EventStore::VmPage EventStore::ListVmsAfter(const VmKey* after, size_t limit) const {
  const MutexLock lock(&mutex_);
  return {vms_.ListAfter(after, limit), log_.newest()};
}

std::vector<VmRecordPtr> EventStore::VmsNamed(absl::string_view name) const {
  const MutexLock lock(&mutex_);
  return vms_.Named(name);
}

VmRecordPtr EventStore::FindVm(const VmKey& key) const {
  const MutexLock lock(&mutex_);
  return vms_.Find(key);
}

EventStore::Range EventStore::range() const {
  const MutexLock lock(&mutex_);
  return RangeLocked();
}

int EventStore::vm_count() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(vms_.running_count());
}

std::vector<WatchedDirectory> EventStore::directories() const {
  const MutexLock lock(&mutex_);
  return directories_;
}

}  // namespace vmeventd
