#include "server/eventlog/event_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/system.h"
#include "base/text.h"
#include "base/uuid.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// State with which a log begins.
struct EventLog::Beginning {
  Journal::Opened opened;  // without a journal if `problem` says why
  absl::Status problem;
  SequenceMark after;  // the journal's id, and the last sequence that may have been given
};

absl::StatusOr<EventLog::Beginning> EventLog::FindBeginning(const JournalOptions& options,
                                                            absl::Time now) {
  const absl::StatusOr<SequenceMark> mark = ReadMark(options.path);
  if (!mark.ok()) return mark.status();
  absl::StatusOr<Journal::Opened> opened = Journal::Open(options, now);
  if (absl::IsFailedPrecondition(opened.status())) return opened.status();
  Beginning begin;
  begin.after = *mark;
  // No sequence was given under the id yet.
  bool id_is_new = false;
  // Continues as another journal, for which no sequence was given yet.
  const auto rename = [&](const char* why) {
    begin.after.journal_id = RandomUuid();
    id_is_new = true;
    if (begin.opened.journal != nullptr) begin.opened.journal->Rename(begin.after.journal_id);
    if (begin.opened.replaced.empty()) begin.opened.replaced = why;
    spdlog::error("{}: {}; it continues as the journal {}", options.path, begin.opened.replaced,
                  begin.after.journal_id);
  };
  if (opened.ok()) {
    begin.opened = *std::move(opened);
    const Journal& journal = *begin.opened.journal;
    const bool is_marked = mark->journal_id == journal.journal_id();
    begin.after = {journal.journal_id(), journal.bounds().newest};
    id_is_new = begin.opened.created;
    if (begin.opened.created && begin.opened.replaced.empty() && !mark->journal_id.empty()) {
      begin.opened.is_new = true;
      begin.opened.replaced = absl::StrCat("the journal ", mark->journal_id,
                                           " is missing, with its events and open runs");
      spdlog::error("{}: {}; starting a new journal", options.path, begin.opened.replaced);
    } else if (is_marked && begin.opened.replaced.empty()) {
      begin.after.through = std::max(begin.after.through, mark->through);
    } else if (!begin.opened.created) {
      rename("the last sequence is not known, and events may be missing");
    }
  } else {
    // Only the mark has the sequences that it may have given.
    struct stat info {};
    const bool is_there =
        stat(options.path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
    if (mark->journal_id.empty() && is_there) return opened.status();
    spdlog::error("{}; new events are not durable until it can be opened",
                  std::string(opened.status().message()));
    begin.problem = opened.status();
    id_is_new = mark->journal_id.empty();
    if (id_is_new) begin.after.journal_id = RandomUuid();
  }
  // The writer tries again, and reports why. If this life ends before, the next one finds a mark
  // that is not of this id.
  const SequenceMark reserved = {begin.after.journal_id, begin.after.through + kReservedSequences};
  if (!WriteMark(options.path, reserved).ok() && !id_is_new) {
    rename("cannot reserve sequences at the start");
  }
  return begin;
}

namespace {

// The VMs of the daemon before that may still run. They are in the first snapshot already: the
// watcher publishes them later.
std::vector<VmRecordPtr> OpenVms(const std::vector<SavedRun>& runs, Instant now) {
  std::vector<VmRecordPtr> vms;
  const SessionOptions session_options;
  for (const SavedRun& saved : runs) {
    const absl::StatusOr<VmSession> run = VmSession::Restore(saved.payload, &session_options, now);
    if (!run.ok()) continue;  // the watcher logs it
    vms.push_back(std::make_shared<const VmRecord>(VmToProto(run->Status(), saved.last_sequence)));
  }
  return vms;
}

absl::Status NotOpen() {
  return WithReason("JOURNAL_UNAVAILABLE",
                    absl::UnavailableError("the journal cannot be opened now, so that earlier "
                                           "events cannot be read; try again later"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(const EventLogOptions& options,
                                                         const Clock* clock) {
  absl::StatusOr<Beginning> begin = FindBeginning(options.journal, clock->Now().wall);
  if (!begin.ok()) return begin.status();
  return std::unique_ptr<EventLog>(new EventLog(options, clock, *std::move(begin)));
}

EventLog::EventLog(const EventLogOptions& options, const Clock* clock, Beginning begin)
    : options_(options.journal),
      live_options_(options.live),
      identity_{begin.after.journal_id, options.node_id},
      begin_(begin.after),
      clock_(clock),
      saved_{.runs = begin.opened.runs, .journal_is_new = begin.opened.is_new},
      queue_(options.max_queued),
      given_(begin_.through),
      newest_(begin_.through),
      vms_(options.live.max_stopped),
      bounds_{.oldest = begin_.through + 1,
              .newest = begin_.through,
              .deleted = begin_.through,
              .thinned = begin_.through},
      wanted_mark_{begin_.journal_id, begin_.through + kReservedSequences} {
  {
    const MutexLock lock(&mutex_);
    // The watcher follows them again: the opening must not end them.
    PutVms(OpenVms(std::exchange(begin.opened.runs, {}), clock_->Now()));
    if (begin.problem.ok()) {
      EndOpen(std::move(begin.opened));
    } else {
      Fail(begin.problem);
      opened_ = std::move(begin.opened);
    }
  }
  Pump(absl::ZeroDuration());
}

EventLog::~EventLog() {
  Close();
  Stop();
}

void EventLog::Start(Threads threads) {
  if (threads == Threads::kAll) {
    pump_thread_ = std::thread([this] {
      SetThreadName("pump");
      while (Step(absl::InfiniteDuration())) {
      }
    });
    writer_thread_ = std::thread([this] { RunWriter(); });
  }
  history_thread_ = std::thread([this] {
    SetThreadName("history");
    reads_.Run();
  });
}

void EventLog::Close(absl::Duration timeout) {
  queue_.Close();
  if (!pump_thread_.joinable()) return;
  pump_thread_.join();
  CloseWriter();
  const MutexLock lock(&mutex_);
  WaitUntil(&wake_, &mutex_, timeout,
            [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_; });
}

void EventLog::Stop() {
  reads_.Stop();
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    wake_.NotifyAll();
  }
  if (history_thread_.joinable()) history_thread_.join();
  if (writer_thread_.joinable()) writer_thread_.join();
}

void EventLog::PutVms(std::vector<VmRecordPtr> vms) {
  if (!vms.empty()) ++vms_version_;
  for (VmRecordPtr& vm : vms) vms_.Put(std::move(vm));
}

void EventLog::Trim() {
  uint64_t waiting_from = UINT64_MAX;
  for (size_t i = written_; i < changes_.size() && waiting_from == UINT64_MAX; ++i) {
    const std::vector<EventBlockPtr>& blocks = changes_[i].batch.blocks;
    if (!blocks.empty()) waiting_from = blocks.front()->first_sequence();
  }
  while (blocks_.size() > 1 && blocks_.front()->last_sequence() < waiting_from &&
         (memory_ > live_options_.ring_bytes ||
          newest_ - OldestInMemory() + 1 > live_options_.ring_events)) {
    memory_ -= blocks_.front()->memory();
    blocks_.pop_front();
  }
}

EventRange EventLog::RangeLocked() const {
  EventRange range{.newest = newest_,
                   .unbroken_from = std::min(bounds_.deleted, newest_) + 1,
                   .committed = std::min(bounds_.newest, newest_)};
  // Nothing is known of a journal before it is open.
  if (open_) range.durable = range.committed;
  if (!hole_.empty()) range.durable = std::min(range.durable, hole_.first - 1);
  const bool in_journal = open_ && bounds_.oldest <= range.committed;
  range.oldest = in_journal ? bounds_.oldest : OldestInMemory();
  return range;
}

absl::StatusOr<uint64_t> EventLog::CursorAfter(const AfterSequence& start) const {
  const EventRange range = RangeLocked();
  const bool same = start.journal_id == identity_.journal_id;
  if (!open_ && (!same || start.sequence < begin_.through)) return NotOpen();
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

StreamBegin EventLog::BeginSnapshot() const {
  std::erase_if(snapshots_, [](const auto& snapshot) { return snapshot.expired(); });
  VmSnapshotPtr latest = snapshots_.empty() ? nullptr : snapshots_.back().lock();
  if (latest != nullptr && latest->version == vms_version_) return {newest_, {}, latest};
  if (latest == nullptr || snapshots_.size() < kMaxSnapshots) {
    latest = std::make_shared<const VmSnapshot>(VmSnapshot{vms_.Running(), newest_, vms_version_});
    snapshots_.push_back(latest);
  }
  return {latest->sequence, {}, latest};
}

absl::StatusOr<StreamBegin> EventLog::Begin(const WatchStart& start) const {
  const MutexLock lock(&mutex_);
  if (std::holds_alternative<FromSnapshot>(start)) return BeginSnapshot();
  StreamBegin begin;
  begin.cursor = newest_;
  if (const auto* after = std::get_if<AfterSequence>(&start)) {
    const absl::StatusOr<uint64_t> cursor = CursorAfter(*after);
    if (!cursor.ok()) return cursor.status();
    begin.cursor = *cursor;
  } else if (!std::holds_alternative<FromNow>(start)) {
    if (!open_) return NotOpen();
    begin.locate = absl::InfinitePast();
    begin.cursor = std::min(bounds_.deleted, newest_);
    if (const auto* since = std::get_if<Since>(&start)) begin.locate = since->time;
  }
  return begin;
}

std::deque<EventBlockPtr>::const_iterator EventLog::BlockAt(uint64_t sequence) const {
  return std::lower_bound(
      blocks_.begin(), blocks_.end(), sequence,
      [](const EventBlockPtr& each, uint64_t value) { return each->last_sequence() < value; });
}

ReadResult EventLog::Read(uint64_t sequence, size_t max_bytes) const {
  const MutexLock lock(&mutex_);
  ReadResult result;
  result.range = RangeLocked();
  const uint64_t through = std::min(OldestInMemory() - 1, result.range.committed);
  if (sequence <= through) {
    result.in_journal_through = through;
    return result;
  }
  auto block = BlockAt(sequence);
  for (size_t bytes = 0; block != blocks_.end() && (result.blocks.empty() || bytes < max_bytes);
       ++block) {
    bytes += (*block)->memory();
    result.blocks.push_back(*block);
  }
  return result;
}

ReadResult EventLog::ReadUncommitted() const {
  const MutexLock lock(&mutex_);
  ReadResult result;
  result.range = RangeLocked();
  result.blocks.assign(BlockAt(result.range.committed + 1), blocks_.end());
  return result;
}

EventLog::Health EventLog::health() const {
  Health health;
  const std::vector<WatchedDirectory> directories = queue_.directories();
  health.directories_present =
      std::all_of(directories.begin(), directories.end(),
                  [](const WatchedDirectory& directory) { return directory.present; });
  health.queued = queue_.depth();
  health.max_queued = queue_.max_updates();
  health.dropped_events = queue_.dropped_events();
  const MutexLock lock(&mutex_);
  health.journal_writable = IsWritable();
  const absl::Duration now = clock_->Now().monotonic;
  if (since_ != absl::InfiniteDuration()) health.journal_age = now - since_;
  if (Waits()) health.journal_age = now - changes_[FirstToWrite(written_)].added;
  health.published_durable = published_durable_;
  health.ring_events = newest_ + 1 - OldestInMemory();
  health.ring_bytes = memory_;
  health.backlog_events = events_;
  health.backlog_bytes = bytes_;
  health.journal = bounds_;
  return health;
}

absl::StatusOr<JournalReader*> EventLog::Reader() {
  if (reads_.stopped()) return ShuttingDown();
  {
    const MutexLock lock(&mutex_);
    if (!open_) return NotOpen();
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
  const bool added = reads_.Add(peer, [this, peer, query] {
    const absl::StatusOr<bool> done = query(Reader());
    if (!done.ok()) return CheckDamage(done.status());
    if (!*done) PostQuery(peer, query);
  });
  if (!added) query(ShuttingDown()).IgnoreError();
}

namespace {

// Collects a turn's events, which arrive in one direction.
class Lister {
 public:
  Lister(const EventMatcher& matcher, const ListBounds& bounds, size_t max_bytes,
         const Clock* clock)
      : matcher_(matcher),
        bounds_(bounds),
        max_bytes_(max_bytes),
        clock_(clock),
        until_(clock->Now().monotonic + kTurn) {}

  // Takes an event that passes, whose encoding `append` appends to a string. False: the turn is
  // over, and `next` is set.
  bool Take(const EventBlock::Entry& entry, absl::FunctionRef<void(std::string*)> append) {
    scratch_.clear();
    const bool in_time = entry.observe_time >= bounds_.start && entry.observe_time < bounds_.end;
    if (in_time && matcher_.MatchesKey(entry)) append(&scratch_);
    if (scratch_.empty() || !matcher_.MatchesEncoding(entry, scratch_)) {
      if (++rows_ % kRowsALook != 0) return true;
      return HasTime(bounds_.newest_first ? entry.sequence - 1 : entry.sequence + 1);
    }
    const bool room = turn_.count == 0 || turn_.events.size() + scratch_.size() <= max_bytes_;
    if (turn_.count == bounds_.page_size || !room) {
      turn_.next = entry.sequence;
      return false;
    }
    turn_.events += scratch_;
    ++turn_.count;
    return true;
  }
  // Returns whether the turn has time left; otherwise the next one continues at `next`.
  bool HasTime(uint64_t next) {
    if (clock_->Now().monotonic < until_) return true;
    turn_.next = next;
    turn_.in_turn = next == 0;
    return false;
  }

  EventListing turn() && { return std::move(turn_); }

 private:
  static constexpr absl::Duration kTurn = absl::Milliseconds(8);
  static constexpr int kRowsALook = 64;

  const EventMatcher& matcher_;
  const ListBounds& bounds_;
  const size_t max_bytes_;
  const Clock* const clock_;
  const absl::Duration until_;
  EventListing turn_;
  std::string scratch_;
  int rows_ = 0;
};

}  // namespace

absl::StatusOr<EventListing> EventLog::List(JournalReader* journal, const EventMatcher& matcher,
                                            const ListBounds& bounds, ListPosition* position,
                                            size_t max_bytes) const {
  const absl::StatusOr<uint64_t> deleted = journal->Deleted();
  if (!deleted.ok()) return deleted.status();
  if (position->named && position->sequence <= *deleted) {
    return WithReason(
        "RETENTION_PASSED",
        absl::OutOfRangeError(absl::StrCat(
            "page_token: sequence ", position->sequence,
            ", where this page begins, is no longer retained: the oldest retained sequence is ",
            range().oldest)));
  }
  if (!position->within.has_value()) {
    const auto within = journal->Within(bounds.start, bounds.end);
    if (!within.ok()) return within.status();
    position->within = *within;
  }
  Lister lister(matcher, bounds, max_bytes, clock_);
  // At one moment: what is written meanwhile is in neither part twice.
  const ReadResult memory = ReadUncommitted();
  const EventRange& range = memory.range;
  const uint64_t from = position->sequence == 0 && bounds.newest_first
                            ? range.newest
                            : std::max<uint64_t>(position->sequence, 1);
  bool more = true;
  const auto list_journal = [&] {
    uint64_t first = std::max(position->within->first, *deleted + 1);
    uint64_t last = std::min(position->within->second, range.committed);
    if (bounds.newest_first) {
      last = std::min(last, from);
    } else {
      first = std::max(first, from);
    }
    return journal->Select(
        matcher, first, last, bounds.newest_first,
        [&](const EventBlock::Entry& entry, absl::string_view stored) {
          return more = lister.Take(entry, [&](std::string* out) {
            AppendStoredEvent(stored, entry.vm_ref, out);
          });
        },
        [&](uint64_t next) { return more = lister.HasTime(next); });
  };
  // Events that are public and not in the journal yet.
  const auto list_memory = [&] {
    std::vector<EventBlockPtr> blocks = memory.blocks;
    if (bounds.newest_first) std::reverse(blocks.begin(), blocks.end());
    for (const EventBlockPtr& block : blocks) {
      for (size_t i = 0; more && i < block->size(); ++i) {
        const size_t at = bounds.newest_first ? block->size() - 1 - i : i;
        const EventBlock::Entry entry = block->at(at);
        if (bounds.newest_first ? entry.sequence > from : entry.sequence < from) continue;
        more = lister.Take(entry, [&](std::string* out) {
          *out = std::string(block->EncodedView(at));
          out->back() = 0;  // not durable
        });
      }
    }
  };
  if (bounds.newest_first) list_memory();
  const absl::Status status = more ? list_journal() : absl::OkStatus();
  if (!status.ok()) return status;
  if (more && !bounds.newest_first) list_memory();
  EventListing turn = std::move(lister).turn();
  position->sequence = turn.next;
  position->named = false;
  return turn;
}

}  // namespace vmeventd
