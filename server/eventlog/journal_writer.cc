#include "server/eventlog/journal_writer.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr size_t kBatchBytes = size_t{4} << 20;
constexpr absl::Duration kRetry = absl::Seconds(1);

size_t SizeOf(const SavedRun& run) { return 100 + run.run_id.size() + run.payload.size(); }

}  // namespace

JournalWriter::JournalWriter(JournalOptions options, Journal::Opened opened, absl::Status problem,
                             SequenceMark begin, Hole lost, const Clock* clock, Changed changed)
    : options_(std::move(options)),
      clock_(clock),
      changed_(std::move(changed)),
      begin_(std::move(begin)),
      journal_(std::move(opened.journal)),
      hole_(lost),
      status_(std::move(problem)),
      wanted_mark_{begin_.journal_id, begin_.through + kReservedSequences},
      open_(journal_ != nullptr) {
  if (open_) {
    bounds_ = journal_->bounds();
    gap_is_due_ = !hole_.empty();
  } else {
    retry_at_ = clock_->Now().monotonic + kRetry;
    bounds_ = {.oldest = begin_.through + 1,
               .newest = begin_.through,
               .deleted = begin_.through,
               .thinned = begin_.through};
  }
  UpdateMeters();
}

uint64_t JournalWriter::Add(Journal::Batch batch, std::vector<Hole>* dropped) {
  const MutexLock lock(&mutex_);
  Waiting waiting;
  for (const EventBlockPtr& block : batch.blocks) {
    waiting.bytes += block->memory();
    waiting.events += block->size();
    if (block->last_sequence() + kReservedSequences / 2 >= wanted_mark_.through) {
      wanted_mark_.through = block->last_sequence() + kReservedSequences;
    }
  }
  for (const SavedRun& run : batch.runs) waiting.bytes += SizeOf(run);
  waiting.batch = std::move(batch);
  bytes_ += waiting.bytes;
  waiting.number = ++added_;
  waiting.added = clock_->Now().monotonic;
  waiting_.push_back(std::move(waiting));
  if (since_ == absl::InfiniteDuration()) since_ = clock_->Now().monotonic;
  while (bytes_ > options_.max_backlog_bytes && waiting_.size() > in_flight_ + 1) {
    DropOldest(dropped);
  }
  UpdateMeters();
  wake_.NotifyAll();
  return added_;
}

void JournalWriter::DropOldest(std::vector<Hole>* dropped) {
  Waiting oldest = std::move(waiting_[in_flight_]);
  waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(in_flight_));
  bytes_ -= oldest.bytes;
  if (!oldest.batch.blocks.empty()) {
    Hole hole{oldest.batch.blocks.front()->first_sequence(),
              oldest.batch.blocks.back()->last_sequence()};
    dropped->push_back(hole);
    meters_.lost_events.Add(oldest.events);
    // The next GAP also names what a dropped one named.
    for (const EventBlockPtr& block : oldest.batch.blocks) {
      for (size_t i = 0; i < block->size(); ++i) {
        if (block->at(i).type != v1::EVENT_TYPE_GAP) continue;
        const v1::Event gap = DecodeEventField(block->EncodedView(i));
        if (gap.has_missing()) hole.first = std::min(hole.first, gap.missing().first());
      }
    }
    hole_.first = hole_.empty() ? hole.first : std::min(hole_.first, hole.first);
    hole_.last = std::max(hole_.last, hole.last);
    named_by_ = 0;
    gap_is_due_ = false;
  }
  // Changes of VMs move to the next batch.
  Waiting& next = waiting_[in_flight_];
  absl::flat_hash_set<std::string> newer;
  for (const SavedRun& run : next.batch.runs) newer.emplace(run.run_id);
  for (SavedRun& run : oldest.batch.runs) {
    if (newer.contains(run.run_id)) continue;
    next.bytes += SizeOf(run);
    bytes_ += SizeOf(run);
    next.batch.runs.push_back(std::move(run));
  }
  std::vector<VmRecordPtr>& stops = oldest.batch.stops;
  stops.insert(stops.end(), next.batch.stops.begin(), next.batch.stops.end());
  if (std::ssize(stops) > Journal::kMaxStops) {
    stops.erase(stops.begin(), stops.end() - Journal::kMaxStops);
  }
  next.batch.stops = std::move(stops);
}

Hole JournalWriter::TakeHole(uint64_t sequence) {
  const MutexLock lock(&mutex_);
  named_by_ = sequence;
  gap_is_due_ = false;
  return hole_;
}

void JournalWriter::Close(uint64_t newest) {
  const MutexLock lock(&mutex_);
  close_at_ = newest;
  if (absl::IsDataLoss(status_)) closed_ = true;
  retry_at_ = absl::ZeroDuration();
  wake_.NotifyAll();
}

void JournalWriter::ReportDamage(const absl::Status& found) {
  Journal::ReportDamage(options_.path, found.message());
  {
    const MutexLock lock(&mutex_);
    if (!status_.ok()) return;
    Fail(found);
  }
  changed_();
}

JournalWriter::Progress JournalWriter::progress() const {
  const MutexLock lock(&mutex_);
  Progress progress{.bounds = bounds_, .written = written_, .open = open_};
  for (const Waiting& waiting : waiting_) {
    if (waiting.batch.blocks.empty()) continue;
    progress.waiting_from = waiting.batch.blocks.front()->first_sequence();
    break;
  }
  // Nothing is known of a journal before it is open.
  if (open_) progress.durable = bounds_.newest;
  if (!hole_.empty()) progress.durable = std::min(progress.durable, hole_.first - 1);
  progress.gap_is_due = gap_is_due_;
  const absl::Duration now = clock_->Now().monotonic;
  progress.stalls_at = since_ + EventLog::kMaxCommit;
  progress.writable = open_ && status_.ok() && now < progress.stalls_at;
  progress.has_room = !progress.writable || bytes_ < options_.max_backlog_bytes / 2;
  if (since_ != absl::InfiniteDuration()) progress.age = now - since_;
  if (!waiting_.empty()) progress.age = now - waiting_.front().added;
  if (!status_.ok()) {
    progress.problem = std::string(status_.message());
  } else if (!progress.writable) {
    progress.problem = absl::StrCat(options_.path, ": the disk does not answer");
  }
  return progress;
}

absl::Duration JournalWriter::NextLocked() const {
  if (closed_) return absl::InfiniteDuration();
  const bool work =
      !waiting_.empty() || wanted_mark_.through > mark_.through || close_at_.has_value() || !open_;
  if (work) return status_.ok() ? absl::ZeroDuration() : retry_at_;
  return expiry_at_;
}

JournalWriter::Work JournalWriter::Choose(Instant now) {
  if (closed_) return Work::kNone;
  if (!status_.ok() && now.monotonic < retry_at_) return Work::kNone;
  if (!open_) return Work::kOpen;
  if (wanted_mark_.through > mark_.through) return Work::kMark;
  const bool retain = journal_->RetentionIsDue() || now.monotonic >= expiry_at_;
  if (retain && !close_at_.has_value() && (waiting_.empty() || !retained_)) return Work::kRetain;
  if (!waiting_.empty()) return Work::kAppend;
  return close_at_.has_value() ? Work::kCloseMark : Work::kNone;
}

Journal::Batch JournalWriter::TakeBatch() {
  Journal::Batch batch;
  size_t bytes = 0;
  for (in_flight_ = 0; in_flight_ < waiting_.size() && bytes < kBatchBytes; ++in_flight_) {
    const Waiting& waiting = waiting_[in_flight_];
    bytes += waiting.bytes;
    const Journal::Batch& from = waiting.batch;
    batch.blocks.insert(batch.blocks.end(), from.blocks.begin(), from.blocks.end());
    batch.runs.insert(batch.runs.end(), from.runs.begin(), from.runs.end());
    batch.stops.insert(batch.stops.end(), from.stops.begin(), from.stops.end());
  }
  batch.hole = hole_;
  const uint64_t through = batch.blocks.empty() ? 0 : batch.blocks.back()->last_sequence();
  batch.hole_is_named = named_by_ != 0 && named_by_ <= through;
  return batch;
}

bool JournalWriter::Turn() {
  Work work = Work::kNone;
  Journal::Batch batch;
  SequenceMark mark;
  const Instant begin = clock_->Now();
  {
    const MutexLock lock(&mutex_);
    work = Choose(begin);
    retained_ = work == Work::kRetain;
    if (work == Work::kNone) {
      if (close_at_.has_value() && !std::exchange(closed_, true)) wake_.NotifyAll();
      return false;
    }
    if (since_ == absl::InfiniteDuration()) since_ = begin.monotonic;
    if (work == Work::kAppend) batch = TakeBatch();
    mark = wanted_mark_;
    if (work == Work::kCloseMark) mark.through = *close_at_;
  }
  absl::Status status;
  absl::StatusOr<bool> more = false;
  absl::StatusOr<Journal::Opened> opened = absl::UnavailableError("");
  switch (work) {
    case Work::kOpen:
      opened = Journal::OpenLate(options_, begin_);
      break;
    case Work::kMark:
    case Work::kCloseMark:
      status = WriteMark(options_.path, mark);
      break;
    case Work::kAppend:
      status = journal_->Append(batch);
      if (absl::IsDataLoss(status)) Journal::ReportDamage(options_.path, status.message());
      break;
    case Work::kRetain:
      more = journal_->Retain(begin);
      break;
    case Work::kNone:
      break;
  }
  const absl::Duration end = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    if (work == Work::kOpen) EndOpen(std::move(opened));
    if (work == Work::kAppend) EndAppend(status, end - begin.monotonic);
    if (work == Work::kMark || work == Work::kCloseMark) {
      if (status.ok()) {
        mark_ = mark;
        status_ = status;
      }
      closed_ = work == Work::kCloseMark;
      if (!status.ok()) Fail(status);
    }
    if (work == Work::kRetain) {
      if (!more.ok()) meters_.retention_errors.Add();
      // A disk that is full can delete as little as it can write: the next look is later.
      if (!more.ok() || !*more) expiry_at_ = end + Journal::kExpiry;
      bounds_ = journal_->bounds();
    }
    since_ = waiting_.empty() ? absl::InfiniteDuration() : end;
    UpdateMeters();
    wake_.NotifyAll();
  }
  changed_();
  return true;
}

void JournalWriter::Fail(const absl::Status& status) {
  status_ = status;
  // Of a journal that is damaged the next start makes another.
  retry_at_ =
      absl::IsDataLoss(status) ? absl::InfiniteDuration() : clock_->Now().monotonic + kRetry;
  meters_.write_errors.Add();
  // There is no later.
  if (close_at_.has_value()) closed_ = true;
}

void JournalWriter::EndAppend(const absl::Status& status, absl::Duration took) {
  meters_.commits.Observe(took);
  const size_t written = std::exchange(in_flight_, 0);
  if (!status.ok()) return Fail(status);
  status_ = status;
  for (size_t i = 0; i < written; ++i) {
    bytes_ -= waiting_.front().bytes;
    written_ = waiting_.front().number;
    waiting_.pop_front();
  }
  bounds_ = journal_->bounds();
  if (named_by_ != 0 && bounds_.newest >= named_by_) {
    hole_ = {};
    named_by_ = 0;
  }
  gap_is_due_ = !hole_.empty() && named_by_ == 0;
}

void JournalWriter::EndOpen(absl::StatusOr<Journal::Opened> opened) {
  if (!opened.ok()) return Fail(opened.status());
  status_ = absl::OkStatus();
  if (const Hole lost = opened->HoleUpTo(begin_.through); !lost.empty()) {
    hole_ = {lost.first, std::max(hole_.last, lost.last)};
    named_by_ = 0;
    gap_is_due_ = true;
  }
  journal_ = std::move(opened->journal);
  open_ = true;
  bounds_ = journal_->bounds();
  // The watcher began without the open runs of the daemon before.
  if (!opened->runs.empty()) waiting_.emplace_front().added = clock_->Now().monotonic;
  for (const SavedRun& run : opened->runs) {
    waiting_.front().batch.runs.push_back({run.run_id, "", 0});
  }
  opened_ = *std::move(opened);
}

void JournalWriter::UpdateMeters() {
  size_t events = 0;
  for (const Waiting& waiting : waiting_) events += waiting.events;
  meters_.backlog_bytes.Set(bytes_);
  meters_.backlog_events.Set(events);
  meters_.events.Set(static_cast<uint64_t>(bounds_.events));
  const absl::Time oldest = bounds_.oldest_time;
  meters_.oldest_event_ns.Set(
      oldest == absl::InfiniteFuture() ? 0 : static_cast<uint64_t>(absl::ToUnixNanos(oldest)));
}

void JournalWriter::Run() {
  SetThreadName("writer");
  while (true) {
    if (Turn()) continue;
    const MutexLock lock(&mutex_);
    while (!stopped_ && !closed_) {
      const absl::Duration wait = NextLocked() - clock_->Now().monotonic;
      if (wait <= absl::ZeroDuration()) break;
      wake_.WaitFor(&mutex_, wait);
    }
    if (stopped_ || closed_) return;
  }
}

}  // namespace vmeventd
