#include "server/event_store.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/quote.h"

namespace vmeventd {

EventStore::EventStore(EventStoreOptions options, JournalIdentity identity, Retained retained,
                       uint64_t newest)
    : identity_(std::make_shared<const JournalIdentity>(std::move(identity))),
      retained_(retained),
      log_(options.log, newest),
      vms_(options.max_stopped) {}

void EventStore::Publish(Step step) {
  const MutexLock lock(&mutex_);
  retained_ = step.retained;
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

void EventStore::Replace(std::vector<EventBlockPtr> blocks) {
  const MutexLock lock(&mutex_);
  for (EventBlockPtr& block : blocks) log_.Replace(std::move(block));
}

void EventStore::ChangeJournal(JournalIdentity identity) {
  const MutexLock lock(&mutex_);
  identity_ = std::make_shared<const JournalIdentity>(std::move(identity));
  retained_ = {log_.newest() + 1, absl::InfiniteFuture()};
}

void EventStore::SetJournalWritable(bool writable) {
  const MutexLock lock(&mutex_);
  journal_writable_ = writable;
}

void EventStore::SetRetained(Retained retained) {
  const MutexLock lock(&mutex_);
  retained_ = retained;
}

JournalIdentityPtr EventStore::identity() const {
  const MutexLock lock(&mutex_);
  return identity_;
}

bool EventStore::journal_writable() const {
  const MutexLock lock(&mutex_);
  return journal_writable_;
}

absl::StatusOr<uint64_t> EventStore::CursorAfter(const AfterSequence& start) const {
  const Range range = RangeLocked();
  if (start.journal_id != identity_->journal_id) {
    return absl::OutOfRangeError(absl::StrCat("journal_id: ", Quote(start.journal_id),
                                              " is not this daemon's journal, ",
                                              Quote(identity_->journal_id),
                                              ": its sequences mean nothing here, where the "
                                              "oldest retained sequence is ",
                                              range.oldest, "; start from a snapshot"));
  }
  if (start.sequence > range.newest) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence: ", start.sequence,
                                              " is beyond the newest sequence, ", range.newest,
                                              "; the oldest retained sequence is ", range.oldest));
  }
  if (start.sequence + 1 < range.oldest) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence: ", start.sequence,
                                              " is too old: the oldest retained sequence is ",
                                              range.oldest));
  }
  return start.sequence;
}

absl::Status EventStore::BeginSince(const Since& start, StreamBegin* begin) const {
  if (start.time <= retained_.deleted_until) {
    return absl::OutOfRangeError(absl::StrCat(
        "since: ", absl::FormatTime(absl::RFC3339_full, start.time, absl::UTCTimeZone()),
        " is too old: the oldest retained sequence is ", RangeLocked().oldest));
  }
  if (log_.EvictedSince(start.time)) {
    begin->since = start.time;
  } else {
    begin->cursor = log_.FirstSince(start.time) - 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<StreamBegin> EventStore::Begin(const WatchStart& start,
                                              const NameMatcher& names) const {
  StreamBegin begin;
  {
    const MutexLock lock(&mutex_);
    begin.cursor = log_.newest();
    if (const auto* after = std::get_if<AfterSequence>(&start)) {
      const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
      if (!cursor.ok()) return cursor.status();
      begin.cursor = *cursor;
    } else if (const auto* since = std::get_if<Since>(&start)) {
      if (absl::Status status = BeginSince(*since, &begin); !status.ok()) return status;
    } else if (std::holds_alternative<FromOldest>(start)) {
      begin.cursor = RangeLocked().oldest - 1;
    } else if (std::holds_alternative<FromSnapshot>(start)) {
      begin.snapshot = vms_.Running();
    }
  }
  // Not under the lock: a long list of patterns takes its time.
  const auto unwanted = [&names](const VmRecordPtr& vm) { return !names.Matches(vm->name()); };
  begin.snapshot.erase(std::remove_if(begin.snapshot.begin(), begin.snapshot.end(), unwanted),
                       begin.snapshot.end());
  return begin;
}

EventStore::Page EventStore::ReadFrom(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  return {log_.BlocksFrom(sequence, max_bytes), RangeLocked(), log_.oldest()};
}

EventStore::Page EventStore::ReadBackFrom(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  return {log_.BlocksBackFrom(sequence, max_bytes), RangeLocked(), log_.oldest()};
}

uint64_t EventStore::FirstInRingSince(absl::Time time) const {
  const MutexLock lock(&mutex_);
  return log_.FirstSince(time);
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

VmCounts EventStore::vm_counts() const {
  const MutexLock lock(&mutex_);
  return vms_.counts();
}

EventStore::RingSize EventStore::ring_size() const {
  const MutexLock lock(&mutex_);
  return {log_.newest() + 1 - log_.oldest(), log_.memory()};
}

std::vector<WatchedDirectory> EventStore::directories() const {
  const MutexLock lock(&mutex_);
  return directories_;
}

}  // namespace vmeventd
