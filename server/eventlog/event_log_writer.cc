#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/eventlog/event_log.h"

namespace vmeventd {
namespace {

constexpr size_t kBatchBytes = size_t{4} << 20;

}  // namespace

void EventLog::AddUnwritten(Unwritten added) {
  const size_t joined = std::min(kBatchBytes, options_.max_backlog_bytes / 8);
  const bool joins = !unwritten_.empty() && unwritten_.back().batch.bytes < joined;
  if (!joins) unwritten_.push_back({added.turn, added.added, {}});
  Journal::Batch& batch = unwritten_.back().batch;
  bytes_ -= batch.bytes;
  batch.Add(added.batch);
  bytes_ += batch.bytes;
}

bool EventLog::DropOldest() {
  if (unwritten_.size() < 2) return false;
  Journal::Batch batch = std::move(unwritten_.front().batch);
  unwritten_.pop_front();
  Journal::Batch& next = unwritten_.front().batch;
  bytes_ -= batch.bytes + next.bytes;
  if (!batch.events.empty()) {
    const Hole hole{batch.events.front()->sequence, batch.events.back()->sequence};
    const auto begin = InMemory(hole.first);
    const auto end = InMemory(hole.last + 1);
    for (auto event = begin; event != end; ++event) memory_ -= (*event)->memory();
    ring_.erase(begin, end);
    meters_.lost_events.Add(batch.events.size());
    hole_.first = hole_.empty() ? hole.first : std::min(hole_.first, hole.first);
    hole_.last = std::max(hole_.last, hole.last);
    named_by_ = 0;
    gap_is_due_ = false;
    batch.DropEvents();
  }
  // Changes of VMs move to the next batch.
  batch.Add(next);
  while (std::ssize(batch.stops) > VmRegistry::kMaxStopped) batch.stops.erase(batch.stops.begin());
  next = std::move(batch);
  bytes_ += next.bytes;
  return true;
}

void EventLog::CheckDamage(const absl::Status& found) {
  if (!absl::IsDataLoss(found)) return;
  Journal::ReportDamage(options_.path, found.message());
  {
    const MutexLock lock(&mutex_);
    if (absl::IsDataLoss(status_)) return;
    Fail(found);
  }
  Wake();
}

absl::Duration EventLog::NextWriteLocked() const {
  if (closed_ || writing_) return absl::InfiniteDuration();
  const bool work = !unwritten_.empty() || wanted_mark_ != mark_ || close_at_.has_value() || !open_;
  const absl::Duration next = work ? absl::ZeroDuration() : expiry_at_;
  return status_.ok() ? next : std::max(next, retry_at_);
}

EventLog::Work EventLog::ChooseWork(Instant now) {
  if (closed_) return Work::kNone;
  if (!status_.ok() && now.monotonic < retry_at_) return Work::kNone;
  if (!open_) return Work::kOpen;
  const bool waits = !unwritten_.empty();
  if (close_at_.has_value() && !waits) wanted_mark_ = *close_at_;
  if (wanted_mark_ != mark_) return Work::kMark;
  const bool retain = journal_->RetentionIsDue() || now.monotonic >= expiry_at_;
  if (retain && !close_at_.has_value() && (!waits || !retained_)) return Work::kRetain;
  return waits ? Work::kAppend : Work::kNone;
}

const Journal::Batch* EventLog::TakeBatch() {
  in_flight_ = std::move(unwritten_.front());
  unwritten_.pop_front();
  Journal::Batch& batch = in_flight_->batch;
  batch.hole = hole_;
  const uint64_t through = batch.events.empty() ? 0 : batch.events.back()->sequence;
  batch.hole_is_named = named_by_ != 0 && named_by_ <= through;
  return &batch;
}

bool EventLog::StepWriter() {
  Work work = Work::kNone;
  const Journal::Batch* batch = nullptr;
  uint64_t mark = 0;
  const Instant begin = clock_->Now();
  {
    const MutexLock lock(&mutex_);
    if (writing_) return false;
    work = ChooseWork(begin);
    retained_ = work == Work::kRetain;
    if (work == Work::kNone) {
      if (close_at_.has_value() && !std::exchange(closed_, true)) closing_.NotifyAll();
      return false;
    }
    writing_ = true;
    if (since_ == absl::InfiniteDuration()) since_ = begin.monotonic;
    if (work == Work::kAppend) batch = TakeBatch();
    mark = wanted_mark_;
  }
  Wake();  // the other pump looks after what waits meanwhile
  absl::Status status;
  absl::StatusOr<bool> more = false;
  absl::StatusOr<Journal::Opened> opened = absl::UnavailableError("");
  if (work == Work::kOpen) {
    opened = Journal::OpenLate(options_, begin_);
  } else if (work == Work::kMark) {
    status = WriteMark(options_.path, {begin_.journal_id, mark});
  } else if (work == Work::kAppend) {
    status = journal_->Append(*batch);
  } else {
    more = journal_->Retain(begin);
    if (absl::IsDataLoss(more.status())) status = more.status();
  }
  if (absl::IsDataLoss(status)) Journal::ReportDamage(options_.path, status.message());
  const absl::Duration end = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    if (work == Work::kOpen) {
      status = opened.status();
      if (opened.ok()) EndOpen(*std::move(opened));
    } else if (work == Work::kMark) {
      if (status.ok()) mark_ = mark;
    } else if (work == Work::kAppend) {
      meters_.commits.Observe(end - begin.monotonic);
      EndAppend(status.ok());
    } else {
      if (!more.ok()) meters_.retention_errors.Add();
      if (!more.ok() || !*more) expiry_at_ = end + Journal::kExpiry;
      bounds_ = journal_->bounds();
    }
    if (!status.ok()) {
      Fail(status);
    } else if (work != Work::kRetain && !absl::IsDataLoss(status_)) {
      status_ = status;  // a reader may have found damage meanwhile
    }
    since_ = unwritten_.empty() ? absl::InfiniteDuration() : end;
    writing_ = false;
    closing_.NotifyAll();
  }
  return true;
}

void EventLog::Fail(const absl::Status& status) {
  // A reader may have found damage meanwhile. The next start replaces a damaged journal.
  if (!absl::IsDataLoss(status_)) status_ = status;
  retry_at_ =
      absl::IsDataLoss(status_) ? absl::InfiniteDuration() : clock_->Now().monotonic + kRetry;
  meters_.write_errors.Add();
  // Closing waits for no second attempt.
  if (!close_at_.has_value()) return;
  closed_ = true;
  closing_.NotifyAll();
}

std::string EventLog::Problem() const {
  if (!status_.ok()) {
    const std::string path = absl::StrCat(options_.path, ": ");
    return absl::StrCat(path, absl::IsDataLoss(status_) ? "damaged: " : "",
                        absl::StripPrefix(status_.message(), path));
  }
  const absl::Duration hung = clock_->Now().monotonic - since_;
  if (hung < kMaxCommit) return absl::StrCat(options_.path, ": the journal is not open yet");
  return absl::StrCat(options_.path, NoAnswerFor(hung));
}

std::string EventLog::NoAnswerFor(absl::Duration hung) {
  return absl::StrCat(": the disk does not answer, for ",
                      absl::FormatDuration(absl::Floor(hung, absl::Seconds(1))), " now");
}

void EventLog::EndAppend(bool ok) {
  Unwritten written = *std::exchange(in_flight_, std::nullopt);
  if (!ok) return unwritten_.push_front(std::move(written));
  bytes_ -= written.batch.bytes;
  bounds_ = journal_->bounds();
  Trim();
  if (named_by_ != 0 && bounds_.newest >= named_by_) {
    hole_ = {};
    named_by_ = 0;
  }
  gap_is_due_ = !hole_.empty() && named_by_ == 0;
}

void EventLog::EndOpen(Journal::Opened opened) {
  Hole lost = opened.hole;
  // These may have been given.
  const uint64_t stored = opened.created ? 0 : opened.journal->bounds().newest;
  if (begin_.through > stored) lost = {lost.empty() ? stored + 1 : lost.first, begin_.through};
  if (!lost.empty()) {
    hole_ = {lost.first, std::max(hole_.last, lost.last)};
    named_by_ = 0;
    gap_is_due_ = true;
  }
  journal_ = std::move(opened.journal);
  open_ = true;
  bounds_ = journal_->bounds();
  file_ = opened.file;
  // The watcher began without these runs of the daemon before.
  Unwritten ended{.added = clock_->Now().monotonic};
  for (const auto& [run_id, run] : opened.runs) ended.batch.Put(run_id, {});
  if (!ended.batch.empty()) {
    bytes_ += ended.batch.bytes;
    unwritten_.push_front(std::move(ended));
  }
  opened_ = std::move(opened);
}

}  // namespace vmeventd
