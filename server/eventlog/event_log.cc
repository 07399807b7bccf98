#include "server/eventlog/event_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/quote.h"
#include "base/thread_name.h"
#include "base/uuid.h"
#include "server/eventlog/alive_time.h"
#include "spdlog/spdlog.h"

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
  const std::string& path = options.journal.path;
  const absl::StatusOr<SequenceMark> read = ReadMark(path);
  if (!read.ok()) {
    spdlog::warn("{}; the sequences that were used are not known",
                 std::string(read.status().message()));
  }
  const SequenceMark mark = read.value_or(SequenceMark());
  const bool has_mark = !read.ok() || !mark.journal_id.empty();
  absl::StatusOr<Journal::Opened> opened = Journal::Open(options.journal, clock->Now().wall);
  Journal::Opened begin;
  JournalEnd found{FileIdentity(path), 0, UINT64_MAX};
  if (opened.ok()) {
    begin = *std::move(opened);
    found.stored = found.newest = begin.journal->bounds().newest;
  } else {
    // Only the mark has the sequences that it may have given.
    struct stat info {};
    const bool is_there = stat(path.c_str(), &info) == 0 ? S_ISREG(info.st_mode) && info.st_size > 0
                                                         : errno != ENOENT;
    const bool is_known = !mark.journal_id.empty() || !is_there;
    if (absl::IsFailedPrecondition(opened.status()) || !is_known) return opened.status();
    spdlog::error("{}; new events are not durable until it can be opened",
                  std::string(opened.status().message()));
    begin.problem = opened.status();
    begin.file = found.file;
  }
  std::optional<HandedLog> handed;
  if (take_handed != nullptr) handed = take_handed(found);
  const bool runs_are_known = handed.has_value()
                                  ? handed->knows_runs
                                  : begin.problem.ok() && !begin.created && begin.replaced.empty();
  // Continues as another journal, for which no sequence was given yet.
  const auto rename = [&](const char* why) {
    begin.after.journal_id = RandomUuid();
    if (begin.journal != nullptr) {
      begin.journal->Rename(begin.after.journal_id);
      begin.after.through = handed.has_value() ? handed->end.newest : found.newest;
    }
    if (begin.replaced.empty()) begin.replaced = why;
  };
  if (handed.has_value()) {
    begin.after = {handed->journal_id, handed->end.newest};
    if (begin.journal != nullptr) begin.journal->Rename(handed->journal_id);
  } else if (begin.problem.ok()) {
    begin.after = {begin.journal->journal_id(), found.newest};
    const bool is_marked = mark.journal_id == begin.after.journal_id;
    if (begin.created && begin.replaced.empty() && has_mark) {
      begin.replaced =
          absl::StrCat("the journal ", mark.journal_id, mark.journal_id.empty() ? "" : " ",
                       "is missing, with its events and open runs");
    } else if (is_marked && begin.replaced.empty()) {
      begin.after.through = std::max(begin.after.through, mark.through);
    } else if (!begin.created) {
      rename("the last sequence is not known, and events may be missing");
    }
  } else {
    begin.after = mark;
    if (mark.journal_id.empty()) begin.after.journal_id = RandomUuid();
  }
  // The next life would give the same ones, if this one cannot reserve its own.
  const uint64_t reserved = begin.after.through + kReservedSequences;
  const bool repeats = !read.ok() || (mark.journal_id == begin.after.journal_id &&
                                      mark.through < reserved - kReservedSequences / 2);
  // The writer tries again, and reports why. If this life ends before, the next one finds a mark
  // that is not of this id.
  if (!WriteMark(path, {begin.after.journal_id, reserved}).ok() && repeats) {
    rename("cannot reserve sequences at the start");
  }
  if (!begin.replaced.empty()) {
    spdlog::error("{}: {}; the journal is {} now", path, begin.replaced, begin.after.journal_id);
  }
  const absl::Time handed_until = handed.has_value() ? handed->watched_until : absl::InfinitePast();
  const bool follows_another =
      handed.has_value() || has_mark || (begin.problem.ok() && !begin.created);
  std::unique_ptr<EventLog> log(new EventLog(options, clock, std::move(begin), std::move(handed)));
  log->follows_another_ = follows_another;
  log->runs_are_known_ = runs_are_known;
  log->last_watched_ = handed_until > absl::InfinitePast() ? handed_until : ReadAlive(path);
  return log;
}

EventLog::EventLog(const EventLogOptions& options, const Clock* clock, Journal::Opened begin,
                   std::optional<HandedLog> handed)
    : options_(options.journal),
      ring_bytes_(options.ring_bytes),
      identity_{begin.after.journal_id, options.node_id},
      begin_(begin.after),
      clock_(clock),
      knows_runs_(handed.has_value() && handed->knows_runs),
      last_assigned_(begin_.through),
      backlog_(options_.max_backlog_bytes, begin_.through,
               BoundsBefore(FirstOf(handed, begin_.through + 1))),
      newest_(begin_.through) {
  saved_ = handed.has_value() ? std::move(handed->runs) : std::exchange(begin.runs, {});
  if (handed.has_value()) {
    for (auto& [run_id, run] : saved_) {
      handed_runs_.insert(run_id);
      const auto known = begin.runs.extract(run_id);  // the others are over
      if (known) run.last_sequence = std::max(run.last_sequence, known.mapped().last_sequence);
    }
    const MutexLock turn(&turn_);
    const MutexLock recording(&recording_);
    const std::vector<EventPtr>& events = handed->unwritten.events;
    // Each by itself, so that the oldest can be dropped.
    for (const EventPtr& event : events) {
      batch_.Put(event);
      Submit();
    }
    batch_.stops = std::move(handed->unwritten.stops);
    for (const auto& [sequence, vm] : batch_.stops) unsubmitted_.vms.push_back(*vm);
    Submit();
    PublishDue();  // again, while there is no journal to wait for
  }
  {
    const MutexLock lock(&mutex_);
    file_ = begin.file;
    if (begin.problem.ok()) {
      TakeJournal(std::move(begin));
    } else {
      meters_.write_errors.Add();
      backlog_.Fail(begin.problem, clock_->Now().monotonic);
      opened_ = std::move(begin);
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
    reads_.Run();
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
  const JournalEnd end{file_, RangeLocked().durable, newest_};
  HandedLog handed{identity_.journal_id, end, backlog_.open() || knows_runs_};
  handed.watched_until = backlog_.watched_until();
  handed.unwritten = backlog_.All();
  return handed;
}

void EventLog::Stop() {
  reads_.Stop();
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
  }
  Wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void EventLog::PutVmsLocked(std::vector<VmRecordPtr> vms) {
  if (!vms.empty()) ++vms_version_;
  for (VmRecordPtr& vm : vms) vms_.Put(std::move(vm));
}

void EventLog::Trim() {
  // The others wait for the disk, or to be public.
  const uint64_t committed = std::min(backlog_.bounds().newest, newest_);
  while (ring_.size() > 1 && ring_.front()->sequence <= committed && memory_ > ring_bytes_) {
    memory_ -= ring_.front()->memory();
    ring_.pop_front();
  }
}

EventRange EventLog::RangeLocked() const {
  const JournalBounds& bounds = backlog_.bounds();
  EventRange range{.newest = newest_,
                   .unbroken_from = std::min(bounds.deleted, newest_) + 1,
                   .committed = std::min(bounds.newest, newest_)};
  // Nothing is known of a journal before it is open.
  if (backlog_.open()) range.durable = range.committed;
  const Hole& hole = backlog_.hole();
  if (!hole.empty()) range.durable = std::min(range.durable, hole.first - 1);
  const bool in_journal = backlog_.open() && bounds.oldest <= range.committed;
  range.oldest = in_journal ? bounds.oldest : OldestInMemory();
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

StreamBegin EventLog::BeginSnapshot() const {
  std::erase_if(snapshots_, [](const auto& snapshot) { return snapshot.expired(); });
  VmSnapshotPtr latest = snapshots_.empty() ? nullptr : snapshots_.back().lock();
  if (latest != nullptr && latest->version == vms_version_) return {newest_, {}, latest};
  if (latest == nullptr || snapshots_.size() < kMaxSnapshots) {
    latest = std::make_shared<const VmSnapshot>(
        VmSnapshot{vms_.ListAfter(nullptr), newest_, vms_version_});
    snapshots_.push_back(latest);
  }
  return {latest->sequence, {}, latest};
}

absl::StatusOr<StreamBegin> EventLog::Begin(const WatchStart& start) const {
  const MutexLock lock(&mutex_);
  StreamBegin begin;
  if (const auto* snapshot = std::get_if<FromSnapshot>(&start)) {
    begin = BeginSnapshot();
    begin.with_stopped = snapshot->stopped;
    return begin;
  }
  begin.cursor = newest_;
  if (const auto* after = std::get_if<AfterSequence>(&start)) {
    const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
  } else if (const auto* since = std::get_if<Since>(&start)) {
    if (!backlog_.open()) return NotOpen();
    begin.locate = since->time;
    begin.cursor = std::min(backlog_.bounds().deleted, newest_);
  }
  return begin;
}

std::deque<EventPtr>::const_iterator EventLog::InMemory(uint64_t sequence) const {
  return std::lower_bound(
      ring_.begin(), ring_.end(), sequence,
      [](const EventPtr& each, uint64_t value) { return each->sequence < value; });
}

ReadResult EventLog::Read(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  ReadResult result{.range = RangeLocked()};
  const uint64_t through = std::min(OldestInMemory() - 1, result.range.committed);
  if (sequence <= through) {
    result.in_journal_through = through;
    return result;
  }
  const auto end = InMemory(newest_ + 1);
  auto event = InMemory(sequence);
  for (size_t bytes = 0; event != end && bytes < max_bytes; ++event) {
    bytes += (*event)->field.size();
    result.events.push_back(*event);
  }
  return result;
}

ReadResult EventLog::ReadUncommitted() const {
  const MutexLock lock(&mutex_);
  const EventRange range = RangeLocked();
  return {.events = {InMemory(range.committed + 1), InMemory(newest_ + 1)}, .range = range};
}

EventLog::Health EventLog::health() const {
  Health health;
  const MutexLock lock(&mutex_);
  health.dropped_events = backlog_.refused();
  const absl::Duration now = clock_->Now().monotonic;
  health.journal_writable = backlog_.IsSettled(now);
  if (!health.journal_writable) health.journal_problem = WhyUnwritable(now);
  if (backlog_.since() != absl::InfiniteDuration()) health.journal_age = now - backlog_.since();
  if (backlog_.First() != nullptr) health.journal_age = now - backlog_.First()->added;
  health.journal = backlog_.bounds();
  health.published_durable = backlog_.open() && health.journal.newest >= newest_;
  health.ring_bytes = memory_;
  health.backlog_events = backlog_.CountEvents();
  health.backlog_bytes = backlog_.bytes();
  health.vms = static_cast<int>(vms_.running_count());
  return health;
}

absl::StatusOr<JournalReader*> EventLog::Reader() {
  {
    const MutexLock lock(&mutex_);
    if (!backlog_.open()) return NotOpen();
  }
  if (reader_ == nullptr) {
    absl::StatusOr<std::unique_ptr<JournalReader>> opened = JournalReader::Open(options_.path);
    CheckDamage(opened.status());
    if (!opened.ok()) return opened.status();
    reader_ = *std::move(opened);
  }
  return reader_.get();
}

void EventLog::PostQuery(const std::string& peer, const HistoryQuery& query) {
  const auto set_since = [this](absl::Duration since) {
    const MutexLock lock(&mutex_);
    reading_since_ = since;
  };
  const bool added = reads_.Add(peer, [this, peer, query, set_since] {
    set_since(clock_->Now().monotonic);
    const absl::StatusOr<bool> done = query(Reader());
    set_since(absl::InfiniteDuration());
    if (!done.ok()) return CheckDamage(done.status());
    if (!*done) PostQuery(peer, query);
  });
  if (!added) query(ShuttingDown()).IgnoreError();
}

absl::Status EventLog::CheckReads() const {
  const MutexLock lock(&mutex_);
  const absl::Duration reads = clock_->Now().monotonic - reading_since_;
  if (reads < kMaxRead) return absl::OkStatus();
  return WithReason("JOURNAL_UNAVAILABLE", absl::UnavailableError(absl::StrCat(
                                               "the journal cannot be read now", NoAnswerFor(reads),
                                               "; VMs can still be listed")));
}

}  // namespace vmeventd
