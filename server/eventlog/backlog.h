#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/eventlog/hole.h"
#include "server/eventlog/journal_batch.h"
#include "server/eventlog/journal_bounds.h"
#include "server/eventlog/node_gap.h"
#include "server/eventlog/saved_runs.h"
#include "server/eventlog/sequence_mark.h"
#include "watcher/core/problem.h"

namespace vmeventd {

// The backlog of the journal: the changes of the log's turns that wait for the disk, which events
// are dropped, which GAP names or counts those, and the mark of the reserved sequences. Decides the
// writer's next task and its time. Pure: has no clock, thread or file; its owner locks. Times are
// monotonic.
class Backlog {
 public:
  // The changes of one turn, or of several successive turns that are written together.
  struct Changes {
    uint64_t turn = 0;
    absl::Duration added;
    JournalBatch batch;
  };
  // The dropped changes: the number of their events, and the sequences of these (empty: no events).
  struct Dropped {
    size_t events = 0;
    Hole sequences;
  };
  enum class Work { kNone, kOpen, kMark, kAppend, kRetain, kAlive };
  // The writer's next task.
  struct Task {
    Work work = Work::kNone;
    absl::Duration begun;
    const JournalBatch* batch = nullptr;  // for kAppend; valid until End
    uint64_t mark = 0;                    // for kMark
    absl::Time alive = {};                // for kAlive
  };
  // Outcome of a task.
  struct Done {
    absl::Status status;  // for kRetain and kAlive, only DATA_LOSS is an error
    absl::Duration at;
    JournalBounds bounds;          // of the journal, if it is open
    bool retains_at_once = false;  // for kRetain: there is more to delete now
  };

  // A write that lasts longer than this makes the journal unwritable. kSettled after the last such
  // write has ended, the journal counts as working again.
  static constexpr absl::Duration kMaxCommit = absl::Seconds(2);
  static constexpr absl::Duration kSettled = absl::Seconds(5);
  static constexpr absl::Duration kRetry = absl::Seconds(1);  // wait after a failure
  static constexpr size_t kMaxBytes = 32 << 20;               // the daemon's `max_bytes`

  // Begins with a journal that is not open yet. New sequences begin after `assigned`; those up to
  // it may have been assigned before. While nothing can be written, the oldest changes beyond
  // `max_bytes` are dropped.
  Backlog(size_t max_bytes, uint64_t assigned, const JournalBounds& bounds)
      : max_bytes_(max_bytes),
        assigned_before_(assigned),
        bounds_(bounds),
        wanted_mark_(assigned + kReservedSequences) {}

  // Waiting changes.

  void Add(const Changes& changes);
  // Returns whether the changes of that turn no longer wait.
  bool IsWritten(uint64_t turn) const { return First() == nullptr || turn < First()->turn; }
  // The changes that have waited longest; null: none wait.
  const Changes* First() const {
    if (in_flight_.has_value()) return &*in_flight_;
    return waiting_.empty() ? nullptr : &waiting_.front();
  }
  // All waiting changes, in order.
  JournalBatch All() const;
  size_t bytes() const { return bytes_; }
  size_t CountEvents() const;
  // Returns whether there is room for a new event, and counts it as refused if not. All events are
  // accepted until changes of twice the bound wait; then only those that are `dropped_last`; and
  // none once changes of four times the bound wait.
  bool Accept(bool dropped_last);
  // Drops the oldest of at least two waiting changes, if they exceed the bound and nothing can be
  // written. The newest state of each VM stays. Unset: there is nothing to drop.
  std::optional<Dropped> DropOldest(absl::Duration now);

  // Missing events.

  // Sequences that are in no journal, and that no GAP in it names.
  const Hole& hole() const { return hole_; }
  // Number of events that were refused.
  uint64_t refused() const { return refused_; }
  // Returns whether TakeGap() has one. The hole is named once the disk has worked again after it
  // last grew: then one GAP names all of it. Refused events are counted once less than the bound
  // waits.
  bool GapIsDue() const { return gap_is_due_ || RefusedAreDue(); }
  // Returns the next GAP that is to be added, with the sequence `sequence`, before any other event;
  // unset: none is due.
  std::optional<NodeGap> TakeGap(uint64_t sequence);

  // Reserves enough further sequences. `assigned` is the one that was assigned last.
  void Reserve(uint64_t assigned);
  // Records that everything that happened up to `until` was added by the turn `turn`, or earlier.
  void Watched(absl::Time until, uint64_t turn);
  absl::Time watched_until() const { return watched_until_; }

  // The writer: one task at a time.

  // Time at which Begin() has a task; zero: now.
  absl::Duration NextWrite() const;
  // Returns the next task. `retention_is_due`: the journal has more events than permitted.
  Task Begin(absl::Duration now, bool retention_is_due);
  void End(const Task& task, const Done& done);
  // Takes over the opened journal, with these `bounds`. Call it before End of kOpen, or at the
  // start. `lost`: the sequences that the journal itself reports as missing. `ended`: its open runs
  // with which the watcher did not start.
  void TakeJournal(const JournalBounds& bounds, bool created, const Hole& lost,
                   const SavedRuns& ended, absl::Duration now);
  // Records a failure of the journal outside of a task, for example in a read.
  void Fail(const absl::Status& status, absl::Duration now);
  bool writing() const { return writing_; }

  // Call it when nothing more is added. The writer writes what waits, marks `newest` as the last
  // sequence, and is then closed; it does not retry failures.
  void CloseAt(uint64_t newest);
  const std::optional<uint64_t>& close_at() const { return close_at_; }
  bool closed() const { return closed_; }

  // The journal.

  bool open() const { return open_; }
  const JournalBounds& bounds() const { return bounds_; }
  // Result of the last attempt to write.
  const absl::Status& status() const { return status_; }
  // Begin of the task that is under way, or waits to be done; Infinite: there is none.
  absl::Duration since() const { return since_; }
  bool IsWritable(absl::Duration now) const {
    return open_ && status_.ok() && now < since_ + kMaxCommit;
  }
  // Unlike IsWritable(), does not change after each write of a disk on which every write is slow.
  bool IsSettled(absl::Duration now) const { return IsWritable(now) && now >= settled_at_; }
  // Returns why the journal at `path` is not settled, as a problem of the node.
  Problem WhyUnwritable(const std::string& path, absl::Duration now) const;
  // Time at which IsSettled() may change from `was` without further input.
  absl::Duration NextChange(bool was, absl::Duration now) const;

 private:
  Work Choose(absl::Duration now, bool retention_is_due);
  void TakeBatch();
  void EndAppend(bool ok);
  bool RefusedAreDue() const { return refused_unnamed_ > 0 && bytes_ < max_bytes_; }
  std::string NameHole() const;
  bool AliveIsDue() const { return watched_until_ != alive_ && IsWritten(watched_turn_); }

  const size_t max_bytes_;
  const uint64_t assigned_before_;
  std::deque<Changes> waiting_;       // by their turns
  std::optional<Changes> in_flight_;  // the changes before these, being written
  size_t bytes_ = 0;                  // size of both
  uint64_t refused_ = 0;
  uint64_t refused_unnamed_ = 0;  // those that no GAP has counted yet

  Hole hole_;
  uint64_t named_by_ = 0;  // the GAP of hole_; 0: there is none yet
  bool gap_is_due_ = false;

  bool open_ = false;
  JournalBounds bounds_;
  absl::Status status_;
  absl::Duration retry_at_ = absl::ZeroDuration();
  absl::Duration since_ = absl::InfiniteDuration();
  absl::Duration settled_at_;
  uint64_t mark_ = 0;  // as last written; 0: not yet
  uint64_t wanted_mark_;
  absl::Time watched_until_ = absl::InfinitePast();
  uint64_t watched_turn_ = 0;
  absl::Time alive_ = absl::InfinitePast();  // as recorded
  absl::Duration expiry_at_ = absl::ZeroDuration();
  bool retained_ = false;  // the last task was kRetain
  bool writing_ = false;
  std::optional<uint64_t> close_at_;
  bool closed_ = false;
};

}  // namespace vmeventd
