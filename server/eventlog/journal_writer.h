#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/retention_clock.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/unreadable.h"
#include "server/events/event_block.h"
#include "server/events/event_meters.h"

namespace vmeventd {

// Keeps writing to a journal that may fail: updates that cannot be written wait in memory, in order
// and within a bound, and are written as soon as it works again. One thread, the pump's.
class JournalWriter {
 public:
  static constexpr size_t kMaxBacklogBytes = EventLog::kMaxBacklogBytes;
  // Part of it for runs and stops whose events were dropped.
  static constexpr size_t kMaxLeftBytes = kMaxBacklogBytes / 2;

  using Change = Journal::Batch;

  JournalWriter(JournalOptions options, std::unique_ptr<Journal> journal,
                std::unique_ptr<SequenceMark> mark)
      : options_(std::move(options)),
        journal_(std::move(journal)),
        mark_(std::move(mark)),
        retention_clock_(journal_->latest_time()),
        published_(mark_->Of(journal_->journal_id()).published) {
    MeasureOldest();
  }

  const Journal& journal() const { return *journal_; }
  // Any thread.
  const JournalMeters& meters() const { return meters_; }

  // Writes a change, or keeps it for later: it is durable where writable() says so afterwards. Its
  // events may be published where may_publish() does.
  void Append(Change change, Instant now);
  // Returns whether a start after a kill or a loss of power would know of every sequence that was
  // given: the journal holds it, or the sequence mark. Otherwise it would be given again.
  bool may_publish() const { return marked_ || published_ <= journal_->newest(); }

  // Tries again what waits, deletes what is older than the retention, and gives back the memory
  // that the last commits took, where any of that is due. `idle`: nothing is to be written, so that
  // old events can be deleted before they keep up a commit.
  void Tick(Instant now, bool idle);
  // Makes the next try of what waits due, the last one before the daemon stops.
  void RetryNow() { retry_at_ = absl::ZeroDuration(); }
  // When Tick is due, on the monotonic clock.
  absl::Duration NextTick() const;

  // Returns whether everything is on disk.
  bool writable() const { return !waiting_ && !corrupt_; }
  // The events that became durable since the last call, later than with their Append.
  std::vector<EventBlockPtr> TakeLate() { return std::exchange(late_, {}); }
  // Events that the last Append dropped from the backlog, the oldest, to keep the bound. What was
  // dropped before, and has not been said in the journal yet, is part of it.
  struct GivenUp {
    uint64_t first = 0;   // sequence
    uint64_t last = 0;    // likewise
    uint64_t events = 0;  // without GAPs of such events
    absl::Time time;      // when the last of them was observed
  };
  std::optional<GivenUp> TakeGivenUp() { return std::exchange(newly_given_up_, std::nullopt); }
  // A block with the GAP that stands for what was just taken, with the sequence `last`: it waits
  // first of all.
  void PutGap(EventBlockPtr gap);

  // Returns whether Replace is due: the journal's file is damaged, as a write here found or a
  // reader says, and it was not tried not long ago.
  bool replace_due(Instant now) const { return corrupt_ && now.monotonic >= retry_at_; }
  // DATA_LOSS, or a read error, which counts as damage where it is repeated (UnreadablePlaces).
  void ReportFound(const absl::Status& found, Instant now);
  const std::string& problem() const { return problem_; }
  // Moves the damaged journal aside and begins a new one after the sequence `newest`, with the open
  // runs. What waited is dropped with the old one. Returns where the old one is now; empty: it was
  // not in its place. Where that fails because the disk fails as a whole, a journal that could not
  // be read is not taken for damaged any longer.
  absl::StatusOr<std::string> Replace(uint64_t newest, Instant now);

 private:
  struct Waiting {
    Change change;
    size_t bytes = 0;
    size_t events = 0;
    bool is_gap = false;  // the GAP that stands for what was given up
  };

  // True: nothing waits any more.
  bool WriteWaiting(Instant now);
  // Writes what waits, oldest first, in transactions of whole changes that need little room: a
  // run's last event and the end of its saved run stay together.
  absl::Status AppendWaiting(absl::Time now);
  absl::Status AppendOldest(size_t count, absl::Time now);
  // Commits the oldest `count` changes in one transaction with the runs and stops that were left.
  absl::Status CommitJoined(size_t count, absl::Time now);
  void GiveUpBeyondBound();
  // Keeps the runs and stops of a change whose events are given up. At the bound the stops go
  // first, oldest first; then how open runs were to be saved, so that the journal has them as they
  // were before. That a run is over goes last.
  void Leave(Change change);
  void GiveUpLeftRuns(bool (*may_go)(const SavedRun&));
  void ForgetLeft() {
    left_runs_.clear();
    left_stops_.clear();
    left_bytes_ = 0;
  }
  // Counts in what `waiting` holds.
  void GiveUp(const Waiting& waiting);
  void Retain(Instant now);
  void RetainLater(Instant now);
  void RetryLater(Instant now);
  void SetMark();
  // The time by which events are too old; logs where it differs from the clock's.
  absl::Time RetentionTime(Instant now);
  // Journal::Append, and how long it took.
  absl::Status Commit(const Journal::Batch& batch, absl::Time now);
  void Forget(const Waiting& oldest) {
    backlog_bytes_ -= oldest.bytes;
    backlog_events_ -= oldest.events;
  }
  void MeasureBacklog() {
    meters_.backlog_bytes.Set(backlog_bytes_ + left_bytes_);
    meters_.backlog_events.Set(backlog_events_);
  }
  void MeasureOldest();

  const JournalOptions options_;
  std::unique_ptr<Journal> journal_;
  const std::unique_ptr<SequenceMark> mark_;
  RetentionClock retention_clock_;
  uint64_t published_;
  JournalMeters meters_;

  bool waiting_ = false;  // an Append has failed, and what follows waits with it
  std::deque<Waiting> backlog_;
  size_t backlog_bytes_ = 0;
  size_t backlog_events_ = 0;
  // Changes whose events were given up: they are written with the oldest that is left. The bound of
  // the backlog is theirs too.
  absl::flat_hash_map<SharedText, SavedRun> left_runs_;  // by run_id
  std::deque<JournalStop> left_stops_;
  size_t left_bytes_ = 0;
  absl::Duration retry_at_ = absl::ZeroDuration();  // while it cannot be written
  absl::Duration retry_wait_ = absl::ZeroDuration();
  absl::Duration retain_at_ = absl::ZeroDuration();
  bool retain_when_idle_ = false;  // there is more to delete than an Append should, or to merge
  absl::Duration retain_wait_ = absl::ZeroDuration();  // while it cannot be done
  absl::Duration release_at_ = absl::ZeroDuration();
  std::vector<EventBlockPtr> late_;
  GivenUp given_up_;  // what the GAP in backlog_ says, or is to say
  std::optional<GivenUp> newly_given_up_;
  UnreadablePlaces unreadable_;
  std::string problem_;
  bool corrupt_ = false;
  bool only_unreadable_ = false;  // that is why it counts as corrupt
  bool marked_ = true;            // the mark names published_
};

}  // namespace vmeventd
