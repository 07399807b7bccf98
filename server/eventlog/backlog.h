#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/eventlog/journal.h"

namespace vmeventd {

// What waits for the disk: the changes of the log's turns, what was dropped of them, the GAP that
// names it, and the mark of the reserved sequences. Decides what the writer does next, and when.
// Pure: it has no clock, no thread and no file, and its owner locks. Times are of the monotonic
// clock; those that come in never go back.
class Backlog {
 public:
  // The changes of a turn, and perhaps of those that follow, which are written together.
  struct Changes {
    uint64_t turn = 0;
    absl::Duration added;
    Journal::Batch batch;
  };
  // What was dropped: its events, and the sequences that they had (empty: there was none).
  struct Dropped {
    size_t events = 0;
    Hole sequences;
  };
  enum class Work { kNone, kOpen, kMark, kAppend, kRetain, kAlive };
  // What the writer does now.
  struct Task {
    Work work = Work::kNone;
    absl::Duration begun;
    const Journal::Batch* batch = nullptr;  // of kAppend; valid until End
    uint64_t mark = 0;                      // of kMark
    absl::Time alive = {};                  // of kAlive
  };
  // Outcome of a task.
  struct Done {
    absl::Status status;  // of kRetain and kAlive: DATA_LOSS alone is an error
    absl::Duration at;
    JournalBounds bounds;          // of the journal, if it is open
    bool retains_at_once = false;  // of kRetain: there is more to delete now
  };

  // A write that lasts longer makes the journal unwritable; it is writable again kSettled after the
  // last such write has ended.
  static constexpr absl::Duration kMaxCommit = absl::Seconds(2);
  static constexpr absl::Duration kSettled = absl::Seconds(5);
  static constexpr absl::Duration kRetry = absl::Seconds(1);  // of a journal that fails

  // The journal is not open yet, and new sequences come after `given`. More than `max_bytes` are
  // dropped while nothing can be written.
  Backlog(size_t max_bytes, uint64_t given, const JournalBounds& bounds)
      : max_bytes_(max_bytes), bounds_(bounds), wanted_mark_(given + kReservedSequences) {}

  // What waits.

  void Add(const Changes& changes);
  // Returns whether the changes of that turn wait no longer.
  bool IsWritten(uint64_t turn) const { return First() == nullptr || turn < First()->turn; }
  // Changes that wait longest; null: none wait.
  const Changes* First() const {
    if (in_flight_.has_value()) return &*in_flight_;
    return waiting_.empty() ? nullptr : &waiting_.front();
  }
  // All that waits, in order.
  Journal::Batch All() const;
  size_t bytes() const { return bytes_; }
  size_t CountEvents() const;
  // How often what waits fills twice the bound.
  size_t fill() const { return bytes_ / (2 * max_bytes_); }
  // Drops the oldest of at least two that wait, if there is more than the bound and nothing can be
  // written. VMs keep their newest state. Unset: there is nothing to drop.
  std::optional<Dropped> DropOldest(absl::Duration now);

  // What is missing.

  // Sequences that are in no journal, and that no GAP in it names.
  const Hole& hole() const { return hole_; }
  // The disk works again since the hole grew last, so that one GAP names all of it.
  bool gap_is_due() const { return gap_is_due_; }
  // The event `gap`, which is added next, names what is returned.
  Hole NameHole(uint64_t gap);
  // Counts events that were not taken at all. They are to be named once there is room.
  void CountRefused(uint64_t events);
  uint64_t refused() const { return refused_; }
  bool refused_are_due() const { return refused_unnamed_ > 0 && bytes_ < max_bytes_; }
  // Number of those that no GAP has counted; 0: none are due.
  uint64_t TakeRefused() { return refused_are_due() ? std::exchange(refused_unnamed_, 0) : 0; }

  // The sequence `given` was given: enough of those that follow stay reserved.
  void Reserve(uint64_t given);
  // All that happened until then was added by that turn.
  void Watched(absl::Time until, uint64_t turn);
  absl::Time watched_until() const { return watched_until_; }

  // The writer: one task at a time.

  // Time at which Begin has something to do; zero: now.
  absl::Duration NextWrite() const;
  // `retention_is_due`: the journal has more events than it may.
  Task Begin(absl::Duration now, bool retention_is_due);
  void End(const Task& task, const Done& done);
  // The journal is open, and ends as `bounds` say: before End of kOpen, or at the start. `lost`:
  // what it lacks by its own account; `given`: sequences up to this one may have been given before.
  // `ended`: its runs with which the watcher did not begin.
  void TakeJournal(const JournalBounds& bounds, bool created, const Hole& lost, uint64_t given,
                   const SavedRuns& ended, absl::Duration now);
  // The journal failed, outside of a task.
  void Fail(const absl::Status& status, absl::Duration now);
  bool writing() const { return writing_; }

  // Nothing is added any more. The writer writes what waits, marks `newest` as the last sequence,
  // and has closed then; it does not try again what fails.
  void CloseAt(uint64_t newest);
  const std::optional<uint64_t>& close_at() const { return close_at_; }
  bool closed() const { return closed_; }

  // The journal.

  bool open() const { return open_; }
  const JournalBounds& bounds() const { return bounds_; }
  // Of the last attempt to write.
  const absl::Status& status() const { return status_; }
  // Begin of what is under way, or waits for its turn; Infinite: nothing does.
  absl::Duration since() const { return since_; }
  bool IsWritable(absl::Duration now) const {
    return open_ && status_.ok() && now < since_ + kMaxCommit;
  }
  // A disk on which each write is slow does not work again after each.
  bool IsSettled(absl::Duration now) const { return IsWritable(now) && now >= settled_at_; }
  // Time at which IsSettled may change by itself from what it `was`.
  absl::Duration NextChange(bool was, absl::Duration now) const;

 private:
  Work Choose(absl::Duration now, bool retention_is_due);
  void TakeBatch();
  void EndAppend(bool ok);
  bool AliveIsDue() const { return watched_until_ != alive_ && IsWritten(watched_turn_); }

  const size_t max_bytes_;
  std::deque<Changes> waiting_;       // by their turns
  std::optional<Changes> in_flight_;  // those before, being written
  size_t bytes_ = 0;                  // size of all of them
  uint64_t refused_ = 0;
  uint64_t refused_unnamed_ = 0;

  Hole hole_;
  uint64_t named_by_ = 0;  // the GAP of hole_; 0: there is none yet
  bool gap_is_due_ = false;

  bool open_ = false;
  JournalBounds bounds_;
  absl::Status status_;
  absl::Duration retry_at_ = absl::ZeroDuration();
  absl::Duration since_ = absl::InfiniteDuration();
  absl::Duration settled_at_;
  uint64_t mark_ = 0;  // as written; 0: not yet
  uint64_t wanted_mark_;
  absl::Time watched_until_ = absl::InfinitePast();
  uint64_t watched_turn_ = 0;
  absl::Time alive_ = absl::InfinitePast();  // as recorded
  absl::Duration expiry_at_ = absl::ZeroDuration();
  bool retained_ = false;  // by the last task
  bool writing_ = false;
  std::optional<uint64_t> close_at_;
  bool closed_ = false;
};

}  // namespace vmeventd
