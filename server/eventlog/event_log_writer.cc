#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "server/eventlog/alive_time.h"
#include "server/eventlog/damage_report.h"
#include "server/eventlog/event_log.h"

// Writing: one thread at a time carries out what the backlog asks for.

namespace vmeventd {

void EventLog::DropSome(absl::Duration now) {
  while (const std::optional<Backlog::Dropped> dropped = backlog_.DropOldest(now)) {
    if (dropped->events == 0) continue;
    recent_.Remove(dropped->sequences);
    meters_.lost_events.Add(dropped->events);
  }
}

void EventLog::CheckDamage(const absl::Status& found) {
  if (!absl::IsDataLoss(found)) return;
  ReportDamage(options_.path, found, /*is_connected=*/true);
  {
    const MutexLock lock(&mutex_);
    if (absl::IsDataLoss(backlog_.status())) return;
    meters_.write_errors.Add();
    backlog_.Fail(found, clock_->Now().monotonic);
    closing_.NotifyAll();
  }
  Wake();
}

bool EventLog::StepWriter() {
  Backlog::Task task;
  const Instant begin = clock_->Now();
  {
    const MutexLock lock(&mutex_);
    if (backlog_.writing()) return false;
    task = backlog_.Begin(begin.monotonic, journal_ != nullptr && journal_->RetentionIsDue());
    if (task.work == Backlog::Work::kNone) {
      if (backlog_.closed()) closing_.NotifyAll();
      return false;
    }
  }
  Wake();  // the other pump looks after what waits meanwhile
  Backlog::Done done;
  absl::StatusOr<Journal::Opened> opened = absl::UnavailableError("");
  switch (task.work) {
    case Backlog::Work::kNone:
      break;
    case Backlog::Work::kOpen:
      opened = Journal::OpenLate(options_, begin_);
      done.status = opened.status();
      break;
    case Backlog::Work::kMark:
      done.status = WriteMark(options_.path, {begin_.journal_id, task.mark});
      break;
    case Backlog::Work::kAppend:
      done.status = journal_->Append(*task.batch);
      break;
    case Backlog::Work::kAlive:
      WriteAlive(options_.path, task.alive).IgnoreError();  // the next one is due soon
      break;
    case Backlog::Work::kRetain: {
      const absl::StatusOr<bool> more = journal_->Retain(begin);
      done.retains_at_once = more.ok() && *more;
      if (!more.ok()) meters_.retention_errors.Add();
      if (absl::IsDataLoss(more.status())) done.status = more.status();
      break;
    }
  }
  if (absl::IsDataLoss(done.status)) {
    // A failure closes the writer's connection. If it was the last one, SQLite may remove the -wal.
    ReportDamage(options_.path, done.status, /*is_connected=*/false);
  }
  done.at = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    if (opened.ok()) TakeJournal(*std::move(opened));
    if (journal_ != nullptr) done.bounds = journal_->bounds();
    backlog_.End(task, done);
    if (task.work == Backlog::Work::kAppend) {
      meters_.commits.Observe(done.at - task.begun);
      Trim();
    }
    if (!done.status.ok()) meters_.write_errors.Add();
    closing_.NotifyAll();
  }
  return true;
}

void EventLog::TakeJournal(Journal::Opened opened) {
  journal_ = std::move(opened.journal);
  file_ = opened.file;
  // Runs that were handed over stay, until the waiting changes replace or end them.
  SavedRuns ended = opened.runs;
  for (const std::string& run_id : handed_runs_) ended.erase(run_id);
  backlog_.TakeJournal(journal_->bounds(), opened.created, opened.hole, ended,
                       clock_->Now().monotonic);
  opened_ = std::move(opened);
}

}  // namespace vmeventd
