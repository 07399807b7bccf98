#include "server/eventlog/event_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/quote.h"
#include "base/thread_name.h"

namespace vmeventd {
namespace {

absl::Status NotOpen() {
  return WithReason("JOURNAL_UNAVAILABLE",
                    absl::UnavailableError("the journal cannot be opened now, so that earlier "
                                           "events cannot be read; try again later"));
}

// The bounds of a journal that is not open yet.
JournalBounds BoundsBefore(uint64_t first) {
  return {.oldest = first, .newest = first - 1, .deleted = first - 1};
}

// The sequence of the first event that was handed over but not written; without one, `next`.
uint64_t FirstOf(const std::optional<HandedLog>& handed, uint64_t next) {
  if (!handed.has_value() || handed->unwritten.events.empty()) return next;
  return handed->unwritten.events.front()->sequence;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(const EventLogOptions& options,
                                                         const Clock* clock,
                                                         const TakeHanded& take_handed) {
  absl::StatusOr<LogStart> start = FindLogStart(options.journal, clock->Now().wall, take_handed);
  if (!start.ok()) return start.status();
  return std::unique_ptr<EventLog>(new EventLog(options, clock, *std::move(start)));
}

EventLog::EventLog(const EventLogOptions& options, const Clock* clock, LogStart start)
    : options_(options.journal),
      identity_{start.after.journal_id, options.node_id},
      begin_(start.after),
      clock_(clock),
      previous_(std::move(start.previous)),
      knows_runs_(start.handed.has_value() && start.handed->knows_runs),
      history_(options_.path, clock,
               {.check_open = [this] { return CheckOpen(); },
                .on_error = [this](const absl::Status& error) { CheckDamage(error); }}),
      recorder_(begin_.through, &meters_),
      backlog_(options.max_waiting_bytes, begin_.through,
               BoundsBefore(FirstOf(start.handed, begin_.through + 1))),
      recent_(options.ring_bytes, begin_.through) {
  if (start.handed.has_value()) {
    for (const auto& [run_id, run] : previous_.runs) handed_runs_.insert(run_id);
    TakeHandedEvents(std::move(start.handed->unwritten));
  }
  {
    const MutexLock lock(&mutex_);
    file_ = start.opened.file;
    if (start.opened.problem.ok()) {
      TakeJournal(std::move(start.opened));
    } else {
      meters_.write_errors.Add();
      backlog_.Fail(start.opened.problem, clock_->Now().monotonic);
      opened_ = std::move(start.opened);
    }
  }
  Step();
}

EventLog::~EventLog() {
  Close();
  Stop();
}

void EventLog::Start(bool pumps) {
  for (int i = 0; pumps && i < 2; ++i) threads_.emplace_back([this] { RunPump(); });
  threads_.emplace_back([this] {
    SetThreadName("history");
    history_.Run();
  });
}

void EventLog::Close(absl::Duration timeout) {
  EndTurn();
  {
    const MutexLock lock(&mutex_);
    pushed_all_ = true;
  }
  Wake();
  const MutexLock lock(&mutex_);
  if (threads_.size() < 2 || backlog_.close_at().has_value()) return;
  while (!backlog_.close_at().has_value()) closing_.Wait(&mutex_);
  WaitUntil(&closing_, &mutex_, timeout,
            [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return backlog_.closed(); });
}

HandedLog EventLog::HandOver() const {
  const MutexLock lock(&mutex_);
  const JournalEnd end{file_, RangeLocked().durable, recent_.newest()};
  HandedLog handed{identity_.journal_id, end, backlog_.open() || knows_runs_};
  handed.watched_until = backlog_.watched_until();
  handed.unwritten = backlog_.All();
  return handed;
}

void EventLog::Stop() {
  history_.Stop();
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
  }
  Wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void EventLog::Trim() {
  // Later events still wait for the disk, or are not public yet.
  recent_.Trim(std::min(backlog_.bounds().newest, recent_.newest()));
}

EventRange EventLog::RangeLocked() const {
  const JournalBounds& bounds = backlog_.bounds();
  const uint64_t newest = recent_.newest();
  EventRange range{.newest = newest,
                   .unbroken_from = std::min(bounds.deleted, newest) + 1,
                   .committed = std::min(bounds.newest, newest)};
  // Nothing is known of a journal before it is open.
  if (backlog_.open()) range.durable = range.committed;
  const Hole& hole = backlog_.hole();
  if (!hole.empty()) range.durable = std::min(range.durable, hole.first - 1);
  const bool in_journal = backlog_.open() && bounds.oldest <= range.committed;
  range.oldest = in_journal ? bounds.oldest : recent_.oldest();
  return range;
}

absl::StatusOr<uint64_t> EventLog::CursorAfter(const AfterSequence& start) const {
  const EventRange range = RangeLocked();
  const bool same = start.journal_id == identity_.journal_id;
  if (!backlog_.open() && (!same || start.sequence + 1 < range.unbroken_from)) return NotOpen();
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
    return RetentionPassed(absl::StrCat("after_sequence: what follows ", start.sequence),
                           range.oldest);
  }
  return start.sequence;
}

absl::StatusOr<StreamBegin> EventLog::Begin(const WatchStart& start) const {
  const MutexLock lock(&mutex_);
  StreamBegin begin;
  if (const auto* snapshot = std::get_if<FromSnapshot>(&start)) {
    PublicVms::Start vms = vms_.Snapshot(recent_.newest());
    begin.cursor = vms.cursor;
    begin.snapshot = std::move(vms.snapshot);
    begin.with_stopped = snapshot->stopped;
    return begin;
  }
  begin.cursor = recent_.newest();
  if (const auto* after = std::get_if<AfterSequence>(&start)) {
    const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
  } else if (const auto* since = std::get_if<Since>(&start)) {
    if (!backlog_.open()) return NotOpen();
    begin.locate = since->time;
    begin.cursor = std::min(backlog_.bounds().deleted, recent_.newest());
  }
  return begin;
}

ReadResult EventLog::Read(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  ReadResult result{.range = RangeLocked()};
  const uint64_t through = std::min(recent_.oldest() - 1, result.range.committed);
  if (sequence <= through) {
    result.in_journal_through = through;
    return result;
  }
  result.events = recent_.Read(sequence, max_bytes);
  return result;
}

ReadResult EventLog::ReadUncommitted() const {
  const MutexLock lock(&mutex_);
  const EventRange range = RangeLocked();
  return {.events = recent_.Read(range.committed + 1, SIZE_MAX), .range = range};
}

EventLog::State EventLog::state() const {
  State state;
  const MutexLock lock(&mutex_);
  state.dropped_events = backlog_.refused();
  const absl::Duration now = clock_->Now().monotonic;
  state.journal_writable = backlog_.IsSettled(now);
  if (!state.journal_writable) state.journal_problem = backlog_.WhyUnwritable(path(), now);
  if (backlog_.since() != absl::InfiniteDuration()) state.journal_age = now - backlog_.since();
  if (backlog_.First() != nullptr) state.journal_age = now - backlog_.First()->added;
  state.journal = backlog_.bounds();
  state.published_durable = backlog_.open() && state.journal.newest >= recent_.newest();
  state.ring_bytes = recent_.bytes();
  state.backlog_events = backlog_.CountEvents();
  state.backlog_bytes = backlog_.bytes();
  state.vms = static_cast<int>(vms_.registry().running_count());
  return state;
}

absl::Status EventLog::CheckOpen() const {
  const MutexLock lock(&mutex_);
  return backlog_.open() ? absl::OkStatus() : NotOpen();
}

}  // namespace vmeventd
