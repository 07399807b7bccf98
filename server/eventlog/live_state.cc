#include "server/eventlog/live_state.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/quote.h"

namespace vmeventd {
namespace {

// Size of a message of the first events of a stream.
constexpr size_t kFirstBytes = size_t{256} << 10;

}  // namespace

void EventRing::Append(EventBlockPtr block) {
  newest_ = block->last_sequence();
  memory_ += block->memory();
  blocks_.push_back(std::move(block));
  while (blocks_.size() > 1 &&
         (memory_ > options_.max_bytes || newest_ - oldest() + 1 > options_.max_events)) {
    memory_ -= blocks_.front()->memory();
    blocks_.pop_front();
  }
}

void EventRing::Replace(EventBlockPtr block) {
  if (blocks_.empty() || block->first_sequence() < oldest()) return;
  EventBlockPtr& there = blocks_[IndexOf(block->first_sequence())];
  if (there->first_sequence() != block->first_sequence() || there->size() != block->size()) return;
  memory_ += block->memory();
  memory_ -= there->memory();
  there = std::move(block);
}

void EventRing::PutGap(uint64_t first, EventBlockPtr gap) {
  const uint64_t last = gap->last_sequence();
  if (blocks_.empty() || last < oldest()) return;
  const auto begins_before = [](const EventBlockPtr& block, uint64_t sequence) {
    return block->first_sequence() < sequence;
  };
  const auto begin = std::lower_bound(blocks_.begin(), blocks_.end(), first, begins_before);
  const auto end = std::lower_bound(begin, blocks_.end(), last + 1, begins_before);
  for (auto it = begin; it != end; ++it) memory_ -= (*it)->memory();
  memory_ += gap->memory();
  blocks_.insert(blocks_.erase(begin, end), std::move(gap));
}

size_t EventRing::IndexOf(uint64_t sequence) const {
  const auto after = std::upper_bound(
      blocks_.begin(), blocks_.end(), sequence,
      [](uint64_t value, const EventBlockPtr& block) { return value < block->first_sequence(); });
  return after == blocks_.begin() ? 0 : static_cast<size_t>(after - blocks_.begin()) - 1;
}

std::vector<EventBlockPtr> EventRing::Blocks(uint64_t sequence, size_t max_bytes,
                                             bool backward) const {
  std::vector<EventBlockPtr> out;
  if (blocks_.empty() || (backward ? sequence < oldest() : sequence > newest_)) return out;
  size_t bytes = 0;
  size_t index = IndexOf(sequence);
  // One before the first is beyond the last as well.
  for (; index < blocks_.size() && (out.empty() || bytes < max_bytes);
       index = backward ? index - 1 : index + 1) {
    bytes += blocks_[index]->memory();
    out.push_back(blocks_[index]);
  }
  return out;
}

LiveState::LiveState(LiveStateOptions options, JournalIdentity identity, Retained retained,
                     uint64_t newest)
    : max_snapshot_bytes_(options.max_snapshot_bytes),
      identity_(std::make_shared<const JournalIdentity>(std::move(identity))),
      retained_(retained),
      ring_(options.ring, newest),
      vms_(options.max_stopped) {}

void LiveState::Publish(Step step) {
  const MutexLock lock(&mutex_);
  retained_ = step.retained;
  for (EventBlockPtr& block : step.blocks) ring_.Append(std::move(block));
  if (!step.vms.empty()) ++vms_version_;
  for (VmRecordPtr& vm : step.vms) vms_.Put(std::move(vm));
}

void LiveState::Replace(std::vector<EventBlockPtr> blocks) {
  const MutexLock lock(&mutex_);
  for (EventBlockPtr& block : blocks) ring_.Replace(std::move(block));
}

absl::StatusOr<uint64_t> LiveState::CursorAfter(const AfterSequence& start) const {
  const EventRange range = RangeLocked();
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
  if (start.sequence + 1 < range.unbroken_from) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence: ", start.sequence,
                                              " is too old: the oldest retained sequence is ",
                                              range.oldest));
  }
  return start.sequence;
}

absl::Status LiveState::BeginSnapshot(StreamBegin* begin) const {
  const MutexLock snapshot_lock(&snapshot_mutex_);
  begin->snapshot = snapshot_.lock();
  const VmSnapshotPtr previous = begin->snapshot;
  std::vector<VmRecordPtr> vms;
  {
    const MutexLock lock(&mutex_);
    begin->cursor = ring_.newest();
    if (previous != nullptr && snapshot_version_ == vms_version_) return absl::OkStatus();
    if (snapshots_.memory() > max_snapshot_bytes_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("too many clients read their snapshots slowly: at most ",
                       max_snapshot_bytes_, " bytes of snapshots are kept; try again later"));
    }
    snapshot_version_ = vms_version_;
    vms = vms_.Running();
  }
  begin->snapshot = snapshots_.Make(vms, previous.get());
  snapshot_ = begin->snapshot;
  return absl::OkStatus();
}

absl::StatusOr<StreamBegin> LiveState::Begin(const WatchStart& start) const {
  StreamBegin begin;
  if (std::holds_alternative<FromSnapshot>(start)) {
    if (absl::Status status = BeginSnapshot(&begin); !status.ok()) return status;
    return begin;
  }
  const MutexLock lock(&mutex_);
  begin.cursor = ring_.newest();
  if (const auto* after = std::get_if<AfterSequence>(&start)) {
    const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
  } else if (const auto* since = std::get_if<Since>(&start)) {
    begin.locate = begin.since = since->time;
    begin.cursor = RangeLocked().oldest - 1;
  } else if (std::holds_alternative<FromOldest>(start)) {
    // Retention may pass the oldest event before it is read, so that the first events come along.
    const uint64_t oldest = RangeLocked().oldest;
    begin.cursor = oldest - 1;
    if (oldest < ring_.oldest()) {
      begin.locate = absl::InfinitePast();
    } else {
      begin.blocks = ring_.Blocks(oldest, kFirstBytes, false);
    }
  }
  return begin;
}

ReadResult LiveState::Read(uint64_t sequence, const ReadOptions& options) const {
  const MutexLock lock(&mutex_);
  ReadResult result;
  result.range = RangeLocked();
  result.out_of_range = sequence < result.range.unbroken_from;
  const auto in_journal = [&](uint64_t first, uint64_t last) {
    result.history = HistoryRequest{std::nullopt, first, last, ""};
  };
  if (options.journal_only) {
    if (sequence <= result.range.newest) in_journal(sequence, result.range.newest);
  } else if (options.backward) {
    result.blocks = ring_.Blocks(sequence, options.max_bytes, true);
    if (result.blocks.empty()) in_journal(result.range.oldest, sequence);
  } else if (sequence < ring_.oldest()) {
    in_journal(sequence, ring_.oldest() - 1);
  } else {
    result.blocks = ring_.Blocks(sequence, options.max_bytes, false);
  }
  return result;
}

EventLog::Health LiveState::health() const {
  const MutexLock lock(&mutex_);
  EventLog::Health health;
  health.journal_writable = journal_writable_;
  health.ring_events = ring_.newest() + 1 - ring_.oldest();
  health.ring_bytes = ring_.memory();
  return health;
}

}  // namespace vmeventd
