#include "server/eventlog/backlog.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/hung_disk.h"
#include "server/eventlog/journal.h"
#include "server/events/logged_event.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

// Waiting changes

void Backlog::Add(const Changes& changes) {
  const size_t joined = std::min(size_t{4} << 20, max_bytes_ / 8);
  const bool joins = !waiting_.empty() && waiting_.back().batch.bytes < joined;
  if (!joins) waiting_.push_back({changes.turn, changes.added, {}});
  JournalBatch& batch = waiting_.back().batch;
  bytes_ -= batch.bytes;
  batch.Add(changes.batch);
  bytes_ += batch.bytes;
  if (since_ == absl::InfiniteDuration()) since_ = changes.added;
}

JournalBatch Backlog::All() const {
  JournalBatch all;
  if (in_flight_.has_value()) all = in_flight_->batch;
  for (const Changes& each : waiting_) all.Add(each.batch);
  return all;
}

size_t Backlog::CountEvents() const {
  size_t count = in_flight_.has_value() ? in_flight_->batch.events.size() : 0;
  for (const Changes& each : waiting_) count += each.batch.events.size();
  return count;
}

bool Backlog::Accept(bool dropped_last) {
  if (bytes_ < (dropped_last ? 4 : 2) * max_bytes_) return true;
  ++refused_;
  ++refused_unnamed_;
  return false;
}

std::optional<Backlog::Dropped> Backlog::DropOldest(absl::Duration now) {
  if (bytes_ <= max_bytes_ || IsWritable(now) || waiting_.size() < 2) return std::nullopt;
  const JournalBatch oldest = std::move(waiting_.front().batch);
  waiting_.pop_front();
  JournalBatch& next = waiting_.front().batch;
  bytes_ -= oldest.bytes + next.bytes;
  Dropped dropped{.events = oldest.events.size()};
  if (!oldest.events.empty()) {
    dropped.sequences = {oldest.events.front()->sequence, oldest.events.back()->sequence};
    const Hole& gone = dropped.sequences;
    hole_.first = hole_.empty() ? gone.first : std::min(hole_.first, gone.first);
    hole_.last = std::max(hole_.last, gone.last);
    named_by_ = 0;
    gap_is_due_ = false;
  }
  // Changes of VMs move to the next batch.
  JournalBatch batch{.stops = oldest.stops};
  for (const auto& [run_id, run] : oldest.runs) batch.Put(run_id, run);
  batch.Add(next);
  while (std::ssize(batch.stops) > VmRegistry::kMaxStopped) batch.stops.erase(batch.stops.begin());
  next = std::move(batch);
  bytes_ += next.bytes;
  return dropped;
}

// Missing events

std::optional<NodeGap> Backlog::TakeGap(uint64_t sequence) {
  if (gap_is_due_) {
    gap_is_due_ = false;
    named_by_ = sequence;
    return NodeGap{GapReason::kNotWritten, NameHole(), hole_};
  }
  if (!RefusedAreDue()) return std::nullopt;
  return NodeGap{
      GapReason::kQueueFull,
      absl::StrCat(std::exchange(refused_unnamed_, 0), " events of VMs were dropped: more than ",
                   2 * kMaxBytes >> 20, " MiB waited to be recorded")};
}

std::string Backlog::NameHole() const {
  if (hole_.last > assigned_before_) {
    return absl::StrCat("the events ", hole_.first, " to ", hole_.last, " are lost: more than ",
                        kMaxBytes >> 20, " MiB waited for the disk");
  }
  return absl::StrCat("events that vmeventd had seen and not written when it ended may be lost; ",
                      hole_.first == 1 ? "it had written none"
                                       : absl::StrCat("the last one written is ", hole_.first - 1));
}

void Backlog::Reserve(uint64_t assigned) {
  if (assigned + kReservedSequences / 2 >= wanted_mark_)
    wanted_mark_ = assigned + kReservedSequences;
}

void Backlog::Watched(absl::Time until, uint64_t turn) {
  watched_until_ = until;
  watched_turn_ = turn;
}

// The writer

absl::Duration Backlog::NextWrite() const {
  if (closed_ || writing_) return absl::InfiniteDuration();
  const bool has_work =
      !waiting_.empty() || wanted_mark_ != mark_ || close_at_.has_value() || !open_ || AliveIsDue();
  const absl::Duration next = has_work ? absl::ZeroDuration() : expiry_at_;
  return status_.ok() ? next : std::max(next, retry_at_);
}

Backlog::Work Backlog::Choose(absl::Duration now, bool retention_is_due) {
  if (closed_ || (!status_.ok() && now < retry_at_)) return Work::kNone;
  if (!open_) return Work::kOpen;
  const bool waits = !waiting_.empty();
  if (close_at_.has_value() && !waits) wanted_mark_ = *close_at_;
  if (wanted_mark_ != mark_) return Work::kMark;
  const bool retain = retention_is_due || now >= expiry_at_;
  if (retain && !close_at_.has_value() && (!waits || !retained_)) return Work::kRetain;
  if (waits) return Work::kAppend;
  return AliveIsDue() ? Work::kAlive : Work::kNone;
}

Backlog::Task Backlog::Begin(absl::Duration now, bool retention_is_due) {
  if (writing_) return {};
  Task task{.work = Choose(now, retention_is_due), .begun = now};
  retained_ = task.work == Work::kRetain;
  if (task.work == Work::kNone) {
    closed_ = closed_ || close_at_.has_value();
    return task;
  }
  writing_ = true;
  if (since_ == absl::InfiniteDuration()) since_ = now;
  if (task.work == Work::kAppend) {
    TakeBatch();
    task.batch = &in_flight_->batch;
  }
  task.mark = wanted_mark_;
  task.alive = watched_until_;
  return task;
}

void Backlog::TakeBatch() {
  in_flight_ = std::move(waiting_.front());
  waiting_.pop_front();
  JournalBatch& batch = in_flight_->batch;
  batch.hole = hole_;
  const uint64_t through = batch.events.empty() ? 0 : batch.events.back()->sequence;
  batch.hole_is_named = named_by_ != 0 && named_by_ <= through;
}

void Backlog::EndAppend(bool ok) {
  Changes written = *std::exchange(in_flight_, std::nullopt);
  if (!ok) return waiting_.push_front(std::move(written));
  bytes_ -= written.batch.bytes;
  if (named_by_ != 0 && bounds_.newest >= named_by_) {
    hole_ = {};
    named_by_ = 0;
  }
  gap_is_due_ = !hole_.empty() && named_by_ == 0;
}

void Backlog::End(const Task& task, const Done& done) {
  // After a failed write its bounds do not count: they may be from before the failure.
  if (open_ && (done.status.ok() || task.work == Work::kRetain)) bounds_ = done.bounds;
  if (task.work == Work::kMark && done.status.ok()) mark_ = task.mark;
  if (task.work == Work::kAppend) EndAppend(done.status.ok());
  if (task.work == Work::kAlive) alive_ = task.alive;
  if (task.work == Work::kRetain && !done.retains_at_once) expiry_at_ = done.at + Journal::kExpiry;
  if (status_.ok() && done.at >= since_ + kMaxCommit) settled_at_ = done.at + kSettled;
  const bool shows_that_it_works =
      task.work == Work::kOpen || task.work == Work::kMark || task.work == Work::kAppend;
  if (!done.status.ok()) {
    Fail(done.status, done.at);
  } else if (shows_that_it_works && !absl::IsDataLoss(status_)) {
    status_ = absl::OkStatus();  // a reader may have found damage meanwhile
  }
  since_ = waiting_.empty() ? absl::InfiniteDuration() : done.at;
  writing_ = false;
}

void Backlog::TakeJournal(const JournalBounds& bounds, bool created, const Hole& lost,
                          const SavedRuns& ended, absl::Duration now) {
  const uint64_t stored = created ? 0 : bounds.newest;
  uint64_t assigned = assigned_before_;
  // The changes that were handed over may have been written.
  for (Changes& changes : waiting_) {
    std::vector<EventPtr>& events = changes.batch.events;
    std::erase_if(events, [&](const EventPtr& event) { return event->sequence <= stored; });
    if (!events.empty()) assigned = std::min(assigned, events.front()->sequence - 1);
  }
  Hole missing = lost;
  if (assigned > stored) missing = {lost.empty() ? stored + 1 : lost.first, assigned};
  if (!missing.empty()) {
    hole_ = {missing.first, std::max(hole_.last, missing.last)};
    named_by_ = 0;
    gap_is_due_ = true;
  }
  open_ = true;
  bounds_ = bounds;
  // The watcher began without these runs of the previous daemon.
  Changes over{.added = now};
  for (const auto& [run_id, run] : ended) over.batch.Put(run_id, {});
  if (over.batch.empty()) return;
  bytes_ += over.batch.bytes;
  waiting_.push_front(std::move(over));
}

void Backlog::Fail(const absl::Status& status, absl::Duration now) {
  // A reader may have found damage meanwhile. The next start replaces a damaged journal.
  if (!absl::IsDataLoss(status_)) status_ = status;
  retry_at_ = absl::IsDataLoss(status_) ? absl::InfiniteDuration() : now + kRetry;
  // A closing journal does not wait for a second attempt.
  closed_ = closed_ || close_at_.has_value();
}

void Backlog::CloseAt(uint64_t newest) {
  close_at_ = newest;
  closed_ = closed_ || absl::IsDataLoss(status_);
  retry_at_ = absl::ZeroDuration();
}

Problem Backlog::WhyUnwritable(const std::string& path, absl::Duration now) const {
  if (absl::IsDataLoss(status_)) {
    return {ProblemCode::kJournalDamaged, absl::StrCat("damaged: ", status_.message())};
  }
  if (!status_.ok()) return {ProblemCode::kJournalUnavailable, std::string(status_.message())};
  const absl::Duration hung = now - since_;
  return {ProblemCode::kJournalUnavailable, absl::StrCat(path, ": ",
                                                         hung >= kMaxCommit ? HungDiskText(hung)
                                                         : open_            ? "the disk is slow"
                                                                 : "it is not open yet")};
}

absl::Duration Backlog::NextChange(bool was, absl::Duration now) const {
  if (was) return since_ + kMaxCommit;
  return IsWritable(now) ? settled_at_ : absl::InfiniteDuration();
}

}  // namespace vmeventd
