#include "server/eventlog/journal_writer.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "server/eventlog/open_journal.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// Interval of looking for events past their age; shorter where a hundredth of that is less.
constexpr absl::Duration kRetainInterval = absl::Minutes(10);
constexpr absl::Duration kMinRetainInterval = absl::Seconds(1);
// When to try again first where that failed; then after twice as long each time.
constexpr absl::Duration kFirstRetention = absl::Seconds(1);
// After how long without a commit the last old events are deleted and its memory is given back.
constexpr absl::Duration kQuiet = absl::Seconds(5);
// Limit of stopped VMs that wait while nothing can be written.
constexpr size_t kMaxWaitingStops = 10'000;
// Limit of one transaction: on a small disk there may be no room for the whole backlog twice,
// in the log and in the database.
constexpr size_t kMaxTransactionBytes = 1 << 20;

// Memory of one, about.
size_t SizeOf(const SavedRun& saved) {
  return sizeof(saved) + 2 * saved.run_id.str().size() + saved.payload.size();
}
size_t SizeOf(const JournalStop& stop) { return sizeof(stop) + stop.vm.size(); }

}  // namespace

void JournalWriter::Append(Change change, Instant now) {
  Waiting waiting{std::move(change)};
  for (const EventBlockPtr& block : waiting.change.blocks) {
    published_ = block->last_sequence();
    waiting.bytes += block->memory();
    waiting.events += block->size();
  }
  for (const SavedRun& saved : waiting.change.runs) waiting.bytes += SizeOf(saved);
  for (const JournalStop& stop : waiting.change.stops) waiting.bytes += SizeOf(stop);
  backlog_bytes_ += waiting.bytes;
  backlog_events_ += waiting.events;
  backlog_.push_back(std::move(waiting));
  if (waiting_ || !WriteWaiting(now)) {
    waiting_ = true;
    GiveUpBeyondBound();
  }
  MeasureBacklog();
  SetMark();
  release_at_ = now.monotonic + kQuiet;
}

void JournalWriter::Tick(Instant now, bool idle) {
  if (!may_publish() && now.monotonic >= retry_at_) SetMark();
  if (corrupt_) return;
  if (waiting_ && now.monotonic >= retry_at_) {
    if (WriteWaiting(now)) {
      waiting_ = false;
      spdlog::info("the journal is written again and has caught up");
    }
    MeasureBacklog();
    SetMark();
  }
  const bool retains = now.monotonic >= retain_at_ || (idle && retain_when_idle_);
  if (!waiting_ && !corrupt_ && retains) Retain(now);
  if (now.monotonic < release_at_) return;
  if (writable() && journal_->retention_problem().ok() && journal_->excess() > 0) {
    retain_when_idle_ = true;
    release_at_ = now.monotonic + kQuiet;
  } else {
    journal_->ReleaseMemory();
    release_at_ = absl::InfiniteDuration();
  }
}

absl::Duration JournalWriter::NextTick() const {
  if (!writable()) return retry_at_;
  return retain_when_idle_ ? absl::ZeroDuration() : std::min(retain_at_, release_at_);
}

bool JournalWriter::WriteWaiting(Instant now) {
  const absl::Status status =
      corrupt_ ? absl::DataLossError(problem_) : AppendWaiting(RetentionTime(now));
  const bool retains = journal_->retention_problem().ok() || retain_wait_ > absl::ZeroDuration();
  if (!retains) RetainLater(now);
  if (status.ok()) {
    retry_wait_ = absl::ZeroDuration();
    return true;
  }
  if (!IsReadError(status)) unreadable_.Clear();  // the disk fails as a whole
  ReportFound(status, now);
  if (corrupt_) return false;
  if (!waiting_) {
    spdlog::error("{}; events are kept in memory and tried again", std::string(status.message()));
  }
  RetryLater(now);
  return false;
}

void JournalWriter::RetryLater(Instant now) {
  retry_wait_ = NextPause(retry_wait_, kFirstRetry, kMaxRetry);
  retry_at_ = now.monotonic + retry_wait_;
}

absl::Status JournalWriter::AppendWaiting(absl::Time now) {
  while (!backlog_.empty()) {
    size_t count = 0;
    for (size_t bytes = 0; count < backlog_.size() && bytes < kMaxTransactionBytes; ++count) {
      bytes += backlog_[count].bytes;
    }
    if (absl::Status status = AppendOldest(count, now); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status JournalWriter::AppendOldest(size_t count, absl::Time now) {
  // Usually it is one change, which needs no copy.
  const bool joins = count > 1 || !left_runs_.empty() || !left_stops_.empty();
  absl::Status status = joins ? CommitJoined(count, now) : Commit(backlog_.front().change, now);
  if (!status.ok()) return status;
  ForgetLeft();
  for (; count > 0; --count) {
    Waiting& written = backlog_.front();
    Forget(written);
    if (written.is_gap) given_up_ = {};
    if (waiting_) {
      std::move(written.change.blocks.begin(), written.change.blocks.end(),
                std::back_inserter(late_));
    }
    backlog_.pop_front();
  }
  return absl::OkStatus();
}

absl::Status JournalWriter::CommitJoined(size_t count, absl::Time now) {
  Change joined;
  for (auto& [run_id, saved] : left_runs_) joined.runs.push_back(std::move(saved));
  std::move(left_stops_.begin(), left_stops_.end(), std::back_inserter(joined.stops));
  const size_t left_stops = left_stops_.size();
  const size_t left_runs = left_runs_.size();
  for (size_t i = 0; i < count; ++i) {
    const Change& change = backlog_[i].change;
    joined.blocks.insert(joined.blocks.end(), change.blocks.begin(), change.blocks.end());
    joined.runs.insert(joined.runs.end(), change.runs.begin(), change.runs.end());
    joined.stops.insert(joined.stops.end(), change.stops.begin(), change.stops.end());
  }
  absl::Status status = Commit(joined, now);
  if (!status.ok()) {
    for (size_t i = 0; i < left_runs; ++i) {
      left_runs_[joined.runs[i].run_id] = std::move(joined.runs[i]);
    }
    std::move(joined.stops.begin(), joined.stops.begin() + static_cast<ptrdiff_t>(left_stops),
              left_stops_.begin());
  }
  return status;
}

void JournalWriter::GiveUpBeyondBound() {
  if (backlog_bytes_ + left_bytes_ <= kMaxBacklogBytes) return;
  // More than is needed, so that it is done once for many events; never the newest.
  while (backlog_bytes_ + left_bytes_ > kMaxBacklogBytes / 4 * 3 && backlog_.size() > 1) {
    Waiting& oldest = backlog_.front();
    GiveUp(oldest);
    Forget(oldest);
    Leave(std::move(oldest.change));
    backlog_.pop_front();
  }
  if (given_up_.last != 0) newly_given_up_ = given_up_;
}

void JournalWriter::Leave(Change change) {
  for (SavedRun& saved : change.runs) {
    const auto [found, is_new] = left_runs_.try_emplace(saved.run_id);
    if (!is_new) left_bytes_ -= SizeOf(found->second);
    left_bytes_ += SizeOf(saved);
    found->second = std::move(saved);
  }
  for (JournalStop& stop : change.stops) {
    left_bytes_ += SizeOf(stop);
    left_stops_.push_back(std::move(stop));
  }
  while (!left_stops_.empty() &&
         (left_bytes_ > kMaxLeftBytes || left_stops_.size() > kMaxWaitingStops)) {
    left_bytes_ -= SizeOf(left_stops_.front());
    left_stops_.pop_front();
  }
  GiveUpLeftRuns([](const SavedRun& saved) { return !saved.payload.empty(); });
  GiveUpLeftRuns([](const SavedRun&) { return true; });
}

void JournalWriter::GiveUpLeftRuns(bool (*may_go)(const SavedRun&)) {
  if (left_bytes_ <= kMaxLeftBytes) return;
  // More than is needed, as above.
  absl::erase_if(left_runs_, [&](const auto& left) {
    if (left_bytes_ <= kMaxLeftBytes / 4 * 3 || !may_go(left.second)) return false;
    left_bytes_ -= SizeOf(left.second);
    meters_.given_up_runs.Add();
    return true;
  });
}

void JournalWriter::GiveUp(const Waiting& waiting) {
  for (const EventBlockPtr& block : waiting.change.blocks) {
    uint64_t first = block->first_sequence();
    for (size_t i = 0; i < block->size(); ++i) {
      if (block->at(i).type != v1::EVENT_TYPE_GAP) continue;
      // The GAP that takes its place names the same missing events.
      const v1::Event gap = DecodeEventField(block->EncodedView(i));
      if (gap.has_missing()) first = std::min(first, gap.missing().first());
    }
    given_up_.first = given_up_.first == 0 ? first : std::min(given_up_.first, first);
    given_up_.last = block->last_sequence();
    given_up_.time = block->at(block->size() - 1).observe_time;
  }
  if (waiting.is_gap) return;
  given_up_.events += waiting.events;
  meters_.given_up_events.Add(waiting.events);
}

void JournalWriter::PutGap(EventBlockPtr gap) {
  Waiting waiting;
  waiting.is_gap = true;
  waiting.bytes = gap->memory();
  waiting.events = gap->size();
  waiting.change.blocks.push_back(std::move(gap));
  backlog_bytes_ += waiting.bytes;
  backlog_events_ += waiting.events;
  backlog_.push_front(std::move(waiting));
  MeasureBacklog();
}

void JournalWriter::Retain(Instant now) {
  const absl::StatusOr<bool> more = journal_->RetainStep(RetentionTime(now));
  MeasureOldest();
  retain_when_idle_ = more.ok() && *more;
  if (!more.ok()) return RetainLater(now);
  if (std::exchange(retain_wait_, absl::ZeroDuration()) > absl::ZeroDuration()) {
    spdlog::info("old events are deleted again");
  }
  retain_at_ =
      now.monotonic + std::clamp(options_.retention_age / 100, kMinRetainInterval, kRetainInterval);
}

void JournalWriter::RetainLater(Instant now) {
  const absl::Status& why = journal_->retention_problem();
  meters_.retention_errors.Add();
  if (retain_wait_ == absl::ZeroDuration()) {
    spdlog::warn("{}; old events are kept until they can be deleted", std::string(why.message()));
  }
  retain_wait_ = NextPause(retain_wait_, kFirstRetention, kRetainInterval);
  retain_at_ = now.monotonic + retain_wait_;
  ReportFound(why, now);
}

absl::Status JournalWriter::Commit(const Journal::Batch& batch, absl::Time now) {
  // Real time: `now` stands still for the whole of a step.
  using Steady = std::chrono::steady_clock;
  const Steady::time_point begin = Steady::now();
  meters_.committing = true;
  absl::Status status = journal_->Append(batch, now);
  meters_.committing = false;
  if (status.ok()) {
    meters_.commits.Observe(absl::FromChrono(Steady::now() - begin));
    MeasureOldest();
    // Half of what an Append leaves: one step deletes what many commits brought.
    const bool many = journal_->excess() > journal_->slack() / 2 || journal_->has_small_rows();
    if (many && journal_->retention_problem().ok()) retain_when_idle_ = true;
  } else {
    meters_.write_errors.Add();
  }
  return status;
}

void JournalWriter::MeasureOldest() {
  const absl::Time time = journal_->oldest_time();
  meters_.oldest_event_ns.Set(
      time == absl::InfiniteFuture() ? 0 : static_cast<uint64_t>(absl::ToUnixNanos(time)));
}

absl::Time JournalWriter::RetentionTime(Instant now) {
  const absl::Time time = retention_clock_.Read(now);
  if (const auto step = retention_clock_.TakeStep(); step.has_value()) {
    spdlog::warn(
        "the clock went ahead by {}: for {} events are deleted by age as if it had not; set it "
        "right if it is wrong",
        absl::FormatDuration(*step), absl::FormatDuration(RetentionClock::kHold));
  }
  return time;
}

void JournalWriter::SetMark() {
  absl::Status status = mark_->Set({journal_->journal_id(), journal_->newest(), published_});
  // Numbers beyond the journal's newest are kept from reuse by this file alone.
  if (status.ok() && published_ > journal_->newest()) status = mark_->Sync();
  const bool was_marked = std::exchange(marked_, status.ok());
  if (was_marked && !marked_) {
    spdlog::error("{}{}", std::string(status.message()),
                  may_publish() ? ""
                                : "; events wait unpublished until it or the journal can be "
                                  "written, so that no sequence is given twice");
  } else if (!was_marked && marked_) {
    spdlog::info("the sequence mark is written again");
  }
}

void JournalWriter::ReportFound(const absl::Status& found, Instant now) {
  const bool unreadable =
      IsReadError(found) && unreadable_.Fail(ReadErrorPlace(found), now.monotonic);
  if (corrupt_ || !(unreadable || absl::IsDataLoss(found))) return;
  corrupt_ = true;
  only_unreadable_ = unreadable;
  problem_ = std::string(found.message());
  retry_at_ = absl::ZeroDuration();
}

absl::StatusOr<std::string> JournalWriter::Replace(uint64_t newest, Instant now) {
  // The old one stays open until there is a new one: this object is never without.
  Replacement replacement{newest, journal_.get()};
  std::vector<SavedRun>& runs = replacement.changes;
  for (const auto& [run_id, saved] : left_runs_) runs.push_back(saved);
  for (const Waiting& waiting : backlog_) {
    runs.insert(runs.end(), waiting.change.runs.begin(), waiting.change.runs.end());
  }
  absl::StatusOr<OpenedJournal> opened = ReplaceJournal(options_, problem_, now.wall, replacement);
  if (!opened.ok()) {
    RetryLater(now);
    if (std::exchange(only_unreadable_, false)) {
      corrupt_ = false;
      unreadable_.Clear();
    }
    return opened.status();
  }
  journal_ = std::move(opened->journal);
  meters_.replacements.Add();
  meters_.given_up_events.Add(backlog_events_);
  MeasureOldest();
  backlog_.clear();
  backlog_bytes_ = backlog_events_ = 0;
  MeasureBacklog();
  ForgetLeft();
  unreadable_.Clear();
  retain_wait_ = absl::ZeroDuration();
  retain_when_idle_ = false;
  given_up_ = {};
  newly_given_up_.reset();
  corrupt_ = waiting_ = only_unreadable_ = false;
  retry_wait_ = absl::ZeroDuration();
  published_ = newest;
  SetMark();
  return opened->moved_to;
}

}  // namespace vmeventd
