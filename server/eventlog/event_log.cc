#include "server/eventlog/event_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/system.h"
#include "base/uuid.h"
#include "server/eventlog/event_log_parts.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

absl::StatusOr<LogBegin> BeginLog(const JournalOptions& options, absl::Time now) {
  const absl::StatusOr<SequenceMark> mark = ReadMark(options.path);
  if (!mark.ok()) return mark.status();
  absl::StatusOr<Journal::Opened> opened = Journal::Open(options, now);
  if (absl::IsFailedPrecondition(opened.status())) return opened.status();
  LogBegin begin;
  begin.after = *mark;
  // No sequence was given under the id yet.
  bool id_is_new = false;
  // Continues as another journal, for which no sequence was given yet.
  const auto rename = [&](const char* why) {
    begin.after.journal_id = RandomUuid();
    id_is_new = true;
    if (begin.opened.journal != nullptr) begin.opened.journal->Rename(begin.after.journal_id);
    begin.lost = begin.opened.hole;
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
    begin.lost = begin.opened.HoleUpTo(begin.after.through);
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

// The VMs that are known from the daemon before. Open runs are in the first snapshot already: the
// watcher publishes them later.
LiveState::Step KnownVms(const Journal::Opened& opened, Instant now) {
  LiveState::Step step;
  for (const v1::Vm& vm : opened.stops) step.vms.push_back(std::make_shared<const VmRecord>(vm));
  const SessionOptions session_options;
  for (const SavedRun& saved : opened.runs) {
    const absl::StatusOr<VmSession> run = VmSession::Restore(saved.payload, &session_options, now);
    if (!run.ok()) continue;  // the watcher logs it
    step.vms.push_back(
        std::make_shared<const VmRecord>(VmToProto(run->Status(), saved.last_sequence)));
  }
  return step;
}

}  // namespace

EventLog::Parts::Parts(const EventLogOptions& options, const Clock* the_clock, LogBegin begin)
    : journal_options(options.journal),
      clock(the_clock),
      saved{.runs = begin.opened.runs, .journal_is_new = begin.opened.is_new},
      queue(options.max_queued),
      live_state(options.live, {begin.after.journal_id, options.node_id}, begin.after.through),
      writer(options.journal,
             {.journal = std::move(begin.opened.journal), .runs = begin.opened.runs}, begin.problem,
             begin.after, begin.lost, clock, [this] { queue.Wake(); }),
      pump(&queue, &live_state, &writer, clock, &subscribers, begin.after.through),
      event_meters(pump.meters()) {
  const OnThread here(&pump_role);
  live_state.Publish(KnownVms(begin.opened, clock->Now()), true);
  pump.TakeWritten();
  if (!begin.opened.replaced.empty())
    pump.PublishGap(GapReason::kJournalReplaced, begin.opened.replaced);
  pump.RunOnce(absl::ZeroDuration());
}

absl::StatusOr<JournalReader*> EventLog::Parts::Reader() {
  if (reads.stopped()) return ShuttingDown();
  if (!writer.progress().open) {
    return WithReason("JOURNAL_UNAVAILABLE",
                      absl::UnavailableError("the journal cannot be opened now; try again later"));
  }
  if (reader == nullptr) {
    absl::StatusOr<std::unique_ptr<JournalReader>> opened =
        JournalReader::Open(journal_options.path);
    CheckDamage(opened.status());
    if (!opened.ok()) return opened.status();
    reader = *std::move(opened);
  }
  return reader.get();
}

void EventLog::Parts::CheckDamage(const absl::Status& status) {
  if (absl::IsDataLoss(status)) writer.ReportDamage(status);
}

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(const EventLogOptions& options,
                                                         const Clock* clock) {
  absl::StatusOr<LogBegin> begin = BeginLog(options.journal, clock->Now().wall);
  if (!begin.ok()) return begin.status();
  return std::unique_ptr<EventLog>(
      new EventLog(std::make_unique<Parts>(options, clock, *std::move(begin))));
}

EventLog::EventLog(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

EventLog::~EventLog() {
  Close();
  Stop();
}

SavedState EventLog::TakeSaved() { return std::exchange(parts_->saved, {}); }
EventSink* EventLog::sink() { return &parts_->queue; }

void EventLog::Subscribe(Subscriber subscriber) {
  parts_->subscribers.push_back(std::move(subscriber));
}

void EventLog::Start(Threads threads) {
  if (threads == Threads::kAll) {
    parts_->pump_thread = std::thread([this] {
      SetThreadName("pump");
      while (Step(absl::InfiniteDuration())) {
      }
    });
    parts_->writer_thread = std::thread([this] { parts_->writer.Run(); });
  }
  parts_->history_thread = std::thread([this] {
    SetThreadName("history");
    parts_->reads.Run();
  });
}

void EventLog::Wake() { parts_->queue.Wake(); }

void EventLog::Close(absl::Duration timeout) {
  parts_->queue.Close();
  if (!parts_->pump_thread.joinable()) return;
  parts_->pump_thread.join();
  const OnThread here(&parts_->pump_role);
  parts_->writer.Close(parts_->pump.newest());
  parts_->writer.WaitUntilClosed(timeout);
  parts_->pump.TakeWritten();
}

void EventLog::Stop() {
  parts_->reads.Stop();
  parts_->writer.Stop();
  if (parts_->history_thread.joinable()) parts_->history_thread.join();
  if (parts_->writer_thread.joinable()) parts_->writer_thread.join();
}

bool EventLog::Step(absl::Duration timeout) {
  const OnThread here(&parts_->pump_role);
  const bool more = parts_->pump.RunOnce(timeout);
  parts_->pump.Notify(&Subscriber::turn);
  return more;
}

bool EventLog::StepWriter() { return parts_->writer.Turn(); }

absl::Duration EventLog::NextStep() const {
  const OnThread here(&parts_->pump_role);
  return parts_->queue.ready() ? absl::ZeroDuration() : parts_->pump.next();
}

absl::Duration EventLog::NextWrite() const { return parts_->writer.next(); }
bool EventLog::StepHistory() { return parts_->reads.RunTurn(); }

absl::StatusOr<StreamBegin> EventLog::Begin(const WatchStart& start) const {
  return parts_->live_state.Begin(start);
}

ReadResult EventLog::Read(uint64_t sequence, const ReadOptions& options) const {
  return parts_->live_state.Read(sequence, options);
}

void EventLog::ReadHistory(const std::string& peer, const HistoryRequest& request,
                           std::function<size_t()> max_bytes,
                           std::function<void(absl::StatusOr<HistoryAnswer>)> done) {
  const auto turn = [this, request, max_bytes = std::move(max_bytes), done = std::move(done)](
                        const absl::StatusOr<JournalReader*>& reader) -> absl::StatusOr<bool> {
    if (!reader.ok()) {
      done(reader.status());
      return true;
    }
    HistoryRequest wanted = request;
    if (wanted.locate.has_value()) wanted.last = range().committed;
    absl::StatusOr<HistoryAnswer> answer = (*reader)->Answer(wanted, max_bytes());
    const absl::Status status = answer.status();
    done(std::move(answer));
    if (!status.ok()) return status;
    return true;
  };
  PostQuery(peer, {.turn = turn, .cancelled = [] { return false; }});
}

void EventLog::PostQuery(const std::string& peer, HistoryQuery query) {
  const auto shared = std::make_shared<HistoryQuery>(std::move(query));
  const auto turn = [this, peer, shared](auto again) -> void {
    const bool cancelled = shared->cancelled();
    const absl::StatusOr<bool> done =
        shared->turn(cancelled ? absl::CancelledError("the call was cancelled") : parts_->Reader());
    if (!done.ok()) return parts_->CheckDamage(done.status());
    if (*done || parts_->reads.Add(peer, [again] { again(again); })) return;
    shared->turn(ShuttingDown()).IgnoreError();
  };
  if (parts_->reads.Add(peer, [turn] { turn(turn); })) return;
  shared->turn(ShuttingDown()).IgnoreError();
}

EventLog::VmPage EventLog::Vms(const VmKey* after, size_t limit) const {
  return parts_->live_state.ListVmsAfter(after, limit);
}

std::vector<VmRecordPtr> EventLog::VmsNamed(absl::string_view name) const {
  return parts_->live_state.VmsNamed(name);
}

std::vector<VmRecordPtr> EventLog::VmsWithUuid(const Uuid& uuid) const {
  return parts_->live_state.VmsWithUuid(uuid);
}

VmRecordPtr EventLog::FindVm(const VmKey& key) const { return parts_->live_state.FindVm(key); }
std::vector<VmRecordPtr> EventLog::LastStoppedVms(size_t limit) const {
  return parts_->live_state.LastStoppedVms(limit);
}
int EventLog::vm_count() const { return parts_->live_state.vm_count(); }
VmCounts EventLog::vm_counts() const { return parts_->live_state.vm_counts(); }

std::vector<WatchedDirectory> EventLog::directories() const { return parts_->queue.directories(); }

const JournalIdentity& EventLog::identity() const { return parts_->live_state.identity(); }
EventRange EventLog::range() const { return parts_->live_state.range(); }

EventLog::Health EventLog::health() const {
  Health health = parts_->live_state.health();
  const std::vector<WatchedDirectory> directories = parts_->queue.directories();
  health.directories_present =
      std::all_of(directories.begin(), directories.end(),
                  [](const WatchedDirectory& directory) { return directory.present; });
  health.journal_age = parts_->writer.progress().age;
  health.queued = parts_->queue.depth();
  health.max_queued = parts_->queue.max_updates();
  health.dropped_events = parts_->queue.dropped_events();
  return health;
}

const Clock& EventLog::clock() const { return *parts_->clock; }
const EventMeters& EventLog::event_meters() const { return parts_->event_meters; }
const JournalMeters& EventLog::journal_meters() const { return parts_->writer.meters(); }

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

  // The next two are false if the turn is over, and `next` is set.
  bool TakeStored(const EventBlock::Entry& entry, absl::string_view stored) {
    if (!Passes(entry)) return !IsLate(entry.sequence);
    scratch_.clear();
    AppendStoredEvent(stored, entry.vm_ref, &scratch_);
    return Take(entry);
  }
  bool TakeFromMemory(const EventBlock::Entry& entry, absl::string_view encoded) {
    if (!Passes(entry)) return !IsLate(entry.sequence);
    scratch_ = std::string(encoded);
    scratch_.back() = 0;  // not durable
    return Take(entry);
  }
  // Returns whether the turn has time left; otherwise the next one continues at `next`.
  bool HasTime(uint64_t next) {
    if (clock_->Now().monotonic < until_) return true;
    return EndTurn(next);
  }

  EventListing turn() && { return std::move(turn_); }

 private:
  static constexpr absl::Duration kTurn = absl::Milliseconds(8);
  static constexpr int kRowsALook = 64;

  bool Passes(const EventBlock::Entry& entry) const {
    return entry.observe_time >= bounds_.start && entry.observe_time < bounds_.end &&
           matcher_.MatchesKey(entry);
  }
  // Ends the turn behind an event, if it has taken long.
  bool IsLate(uint64_t sequence) {
    if (++rows_ % kRowsALook != 0) return false;
    return !HasTime(bounds_.newest_first ? sequence - 1 : sequence + 1);
  }
  // Takes the event in scratch_.
  bool Take(const EventBlock::Entry& entry) {
    if (!matcher_.MatchesEncoding(entry, scratch_)) return !IsLate(entry.sequence);
    const bool room = turn_.count == 0 || turn_.events.size() + scratch_.size() <= max_bytes_;
    if (turn_.count == bounds_.page_size || !room) {
      turn_.next = entry.sequence;
      return false;
    }
    turn_.events += scratch_;
    ++turn_.count;
    return true;
  }
  bool EndTurn(uint64_t next) {
    turn_.next = next;
    turn_.in_turn = next == 0;
    return false;
  }

  const EventMatcher& matcher_;
  const ListBounds& bounds_;
  const size_t max_bytes_;
  const Clock* const clock_;
  const absl::Duration until_;
  EventListing turn_;
  std::string scratch_;
  int rows_ = 0;
};

// Finds the sequences that can lie within the bounds' times.
absl::StatusOr<std::pair<uint64_t, uint64_t>> FindWithin(JournalReader* journal,
                                                         const ListBounds& bounds) {
  std::pair<uint64_t, uint64_t> within = {1, UINT64_MAX};
  if (bounds.start > absl::InfinitePast()) {
    const absl::StatusOr<uint64_t> since = journal->FirstSince(bounds.start);
    if (!since.ok()) return since.status();
    within.first = *since == 0 ? UINT64_MAX : *since;
  }
  if (bounds.end < absl::InfiniteFuture()) {
    const absl::StatusOr<uint64_t> before = journal->LastBefore(bounds.end);
    if (!before.ok()) return before.status();
    within.second = *before;
  }
  return within;
}

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
    absl::StatusOr<std::pair<uint64_t, uint64_t>> within = FindWithin(journal, bounds);
    if (!within.ok()) return within.status();
    position->within = *within;
  }
  Lister lister(matcher, bounds, max_bytes, parts_->clock);
  const EventRange range = this->range();
  const uint64_t from = position->sequence == 0 && bounds.newest_first
                            ? range.newest
                            : std::max<uint64_t>(position->sequence, 1);
  const auto take_stored = [&](const EventBlock::Entry& entry, absl::string_view stored) {
    return lister.TakeStored(entry, stored);
  };
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
          return more = take_stored(entry, stored);
        },
        [&](uint64_t next) { return more = lister.HasTime(next); });
  };
  // Events that are public and not in the journal yet.
  const auto list_memory = [&] {
    std::vector<EventBlockPtr> blocks = Read(range.committed + 1, {.max_bytes = SIZE_MAX}).blocks;
    if (bounds.newest_first) std::reverse(blocks.begin(), blocks.end());
    for (const EventBlockPtr& block : blocks) {
      for (size_t i = 0; more && i < block->size(); ++i) {
        const size_t at = bounds.newest_first ? block->size() - 1 - i : i;
        const EventBlock::Entry entry = block->at(at);
        const bool wanted = entry.sequence > range.committed && entry.sequence <= range.newest &&
                            (bounds.newest_first ? entry.sequence <= from : entry.sequence >= from);
        if (wanted) more = lister.TakeFromMemory(entry, block->EncodedView(at));
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
