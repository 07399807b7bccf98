#include "server/eventlog/live_state.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/text.h"

namespace vmeventd {
namespace {

absl::Status NotOpen() {
  return WithReason("JOURNAL_UNAVAILABLE",
                    absl::UnavailableError("the journal cannot be opened now, so that earlier "
                                           "events cannot be read; try again later"));
}

}  // namespace

LiveState::LiveState(LiveStateOptions options, JournalIdentity identity, uint64_t newest)
    : options_(options),
      identity_(std::move(identity)),
      began_after_(newest),
      newest_(newest),
      vms_(options.max_stopped) {}

void LiveState::Publish(Step step, bool durable) {
  const MutexLock lock(&mutex_);
  for (EventBlockPtr& block : step.blocks) {
    memory_ += block->memory();
    blocks_.push_back(std::move(block));
  }
  newest_ = std::max(newest_, step.newest);
  published_durable_ = durable;
  Trim();
  if (!step.vms.empty()) ++vms_version_;
  for (VmRecordPtr& vm : step.vms) vms_.Put(std::move(vm));
}

void LiveState::Trim() {
  while (blocks_.size() > 1 && blocks_.front()->last_sequence() < written_.waiting_from &&
         (memory_ > options_.ring.max_bytes ||
          newest_ - OldestInMemory() + 1 > options_.ring.max_events)) {
    memory_ -= blocks_.front()->memory();
    blocks_.pop_front();
  }
}

void LiveState::Drop(uint64_t first, uint64_t last) {
  const MutexLock lock(&mutex_);
  size_t dropped = 0;
  std::erase_if(blocks_, [&](const EventBlockPtr& block) {
    const bool drop = block->first_sequence() >= first && block->last_sequence() <= last;
    if (drop) dropped += block->memory();
    return drop;
  });
  memory_ -= dropped;
}

EventRange LiveState::RangeLocked() const {
  EventRange range{.newest = newest_,
                   .unbroken_from = std::min(written_.bounds.deleted, newest_) + 1,
                   .committed = std::min(written_.bounds.newest, newest_),
                   .durable = std::min(written_.durable, newest_)};
  const bool in_journal = written_.open && written_.bounds.oldest <= range.committed;
  range.oldest = in_journal ? written_.bounds.oldest : OldestInMemory();
  return range;
}

absl::StatusOr<uint64_t> LiveState::CursorAfter(const AfterSequence& start) const {
  const EventRange range = RangeLocked();
  const bool same = start.journal_id == identity_.journal_id;
  if (!written_.open && (!same || start.sequence < began_after_)) return NotOpen();
  if (!same) {
    return WithReason(
        "JOURNAL_REPLACED",
        absl::OutOfRangeError(absl::StrCat(
            "journal_id: ", Quote(start.journal_id), " is not this daemon's journal, ",
            Quote(identity_.journal_id),
            ": its sequences mean nothing here, where the oldest retained sequence is ",
            range.oldest, "; start from a snapshot")));
  }
  if (start.sequence > range.newest) {
    return WithReason("BEYOND_NEWEST",
                      absl::OutOfRangeError(absl::StrCat(
                          "after_sequence: ", start.sequence, " is beyond the newest sequence, ",
                          range.newest, "; the oldest retained sequence is ", range.oldest)));
  }
  if (start.sequence + 1 < range.unbroken_from) {
    return WithReason("RETENTION_PASSED",
                      absl::OutOfRangeError(absl::StrCat(
                          "after_sequence: ", start.sequence,
                          " is too old: the oldest retained sequence is ", range.oldest)));
  }
  return start.sequence;
}

StreamBegin LiveState::BeginSnapshot() const {
  std::erase_if(snapshots_, [](const auto& snapshot) { return snapshot.expired(); });
  VmSnapshotPtr latest = snapshots_.empty() ? nullptr : snapshots_.back().lock();
  if (latest != nullptr && latest->version == vms_version_) return {newest_, {}, {}, latest};
  if (latest == nullptr || snapshots_.size() < kMaxSnapshots) {
    latest = std::make_shared<const VmSnapshot>(VmSnapshot{vms_.Running(), newest_, vms_version_});
    snapshots_.push_back(latest);
  }
  return {latest->sequence, {}, {}, latest};
}

absl::StatusOr<StreamBegin> LiveState::Begin(const WatchStart& start) const {
  const MutexLock lock(&mutex_);
  if (std::holds_alternative<FromSnapshot>(start)) return BeginSnapshot();
  StreamBegin begin;
  begin.cursor = newest_;
  if (const auto* after = std::get_if<AfterSequence>(&start)) {
    const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
  } else if (!std::holds_alternative<FromNow>(start)) {
    if (!written_.open) return NotOpen();
    begin.locate = absl::InfinitePast();
    begin.cursor = std::min(written_.bounds.deleted, newest_);
    if (const auto* since = std::get_if<Since>(&start)) begin.locate = begin.since = since->time;
  }
  return begin;
}

ReadResult LiveState::Read(uint64_t sequence, const ReadOptions& options) const {
  const MutexLock lock(&mutex_);
  ReadResult result;
  result.range = RangeLocked();
  const uint64_t in_memory = OldestInMemory();
  const uint64_t committed = result.range.committed;
  const uint64_t through = std::min(in_memory - 1, committed);
  if (sequence <= through) {
    result.history = HistoryRequest{std::nullopt, sequence, through};
    return result;
  }
  if (sequence > newest_) return result;
  // The block that holds `sequence`, or the first one behind it.
  auto block = std::lower_bound(
      blocks_.begin(), blocks_.end(), sequence,
      [](const EventBlockPtr& each, uint64_t value) { return each->last_sequence() < value; });
  for (size_t bytes = 0;
       block != blocks_.end() && (result.blocks.empty() || bytes < options.max_bytes); ++block) {
    bytes += (*block)->memory();
    result.blocks.push_back(*block);
  }
  return result;
}

EventLog::Health LiveState::health() const {
  const MutexLock lock(&mutex_);
  EventLog::Health health;
  health.journal_writable = written_.writable;
  health.published_durable = published_durable_;
  health.ring_events = newest_ + 1 - OldestInMemory();
  health.ring_bytes = memory_;
  return health;
}

}  // namespace vmeventd
