#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/eventlog/journal.h"
#include "server/events/event_meters.h"

namespace vmeventd {

// The events and runs that wait for the disk, in order, and the thread that writes them. Events
// wait up to JournalOptions::max_backlog_bytes; beyond that the oldest are dropped, and a GAP, for
// which the pump asks, names all that were dropped. No call but Turn and Run waits for the disk.
class JournalWriter {
 public:
  struct Progress {
    JournalBounds bounds;
    uint64_t written = 0;  // the last batch, as Add numbers them, that is in the journal
    uint64_t durable = 0;  // see EventRange
    uint64_t waiting_from = UINT64_MAX;  // the oldest event that waits
    // More may wait for the disk. A burst that is faster than a disk that works stays in the event
    // queue; one that hangs or fails holds nothing up.
    bool has_room = true;
    bool open = false;
    bool writable = false;
    bool gap_is_due = false;  // see TakeHole
    absl::Duration age;       // of the oldest change that waits, or of what is being done
    // Time at which it stops being writable, if what is under way does not end before.
    absl::Duration stalls_at = absl::InfiniteDuration();
    std::string problem;  // why it is not writable, for people
  };
  // Called by the writer after each turn.
  using Changed = std::function<void()>;

  // `opened` has no journal if `problem` says why it cannot be opened. `begin`: the journal's id,
  // and the sequence after which new events begin. `lost`: what is missing before that.
  JournalWriter(JournalOptions options, Journal::Opened opened, absl::Status problem,
                SequenceMark begin, Hole lost, const Clock* clock, Changed changed);

  // Has `batch` written after all that was added before, and sequences reserved where few are left.
  // Returns its number, which grows. Appends to `dropped` what goes for it, if anything. Pump
  // thread.
  uint64_t Add(Journal::Batch batch, std::vector<Hole>* dropped);
  // The hole that the GAP `sequence`, which the caller adds next, has to name. Pump thread.
  Hole TakeHole(uint64_t sequence);
  // A journal that could be opened at last; once. Its `journal` is null. Pump thread.
  std::optional<Journal::Opened> TakeOpened() {
    const MutexLock lock(&mutex_);
    return std::exchange(opened_, std::nullopt);
  }
  // Nothing will be added. Writes what waits once more, and then that `newest` was the last
  // sequence.
  void Close(uint64_t newest);
  // The journal is damaged, as a reader found: nothing more is written, and the next start replaces
  // it. Any thread.
  void ReportDamage(const absl::Status& found);

  // Any thread.
  Progress progress() const;
  const JournalMeters& meters() const { return meters_; }
  // Time at which there is something to write, on the monotonic clock; zero: now.
  absl::Duration next() const {
    const MutexLock lock(&mutex_);
    return NextLocked();
  }

  // Does one thing that is due, and waits for the disk for it. False: nothing is due. The writer's
  // thread.
  bool Turn();
  // Turns until Stop, or until everything is written after Close.
  void Run();
  void Stop() {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    wake_.NotifyAll();
  }
  // Waits until nothing can be written any more after Close, at most `timeout`. True: it is done.
  bool WaitUntilClosed(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    return WaitUntil(&wake_, &mutex_, timeout,
                     [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_; });
  }

 private:
  enum class Work { kNone, kOpen, kMark, kAppend, kRetain, kCloseMark };
  struct Waiting {
    Journal::Batch batch;
    uint64_t number = 0;
    absl::Duration added;
    size_t bytes = 0;
    size_t events = 0;
  };

  absl::Duration NextLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Work Choose(Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Joins what waits first, up to a few MiB.
  Journal::Batch TakeBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropOldest(std::vector<Hole>* dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndAppend(const absl::Status& status, absl::Duration took)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndOpen(absl::StatusOr<Journal::Opened> opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateMeters() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JournalOptions options_;
  const Clock* const clock_;
  const Changed changed_;
  const SequenceMark begin_;
  JournalMeters meters_;
  std::unique_ptr<Journal> journal_;  // the writer's thread, between turns by mutex_

  mutable Mutex mutex_;
  CondVar wake_;
  std::deque<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;  // number of the first of them, being written
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t added_ ABSL_GUARDED_BY(mutex_) = 0;    // number of the last batch
  uint64_t written_ ABSL_GUARDED_BY(mutex_) = 0;  // number of the last batch in the journal
  Hole hole_ ABSL_GUARDED_BY(mutex_);
  uint64_t named_by_ ABSL_GUARDED_BY(mutex_) = 0;  // the GAP of hole_; 0: there is none yet
  // The disk works again since hole_ grew last, so that one GAP names all of it.
  bool gap_is_due_ ABSL_GUARDED_BY(mutex_) = false;
  JournalBounds bounds_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);  // of the last attempt
  absl::Duration retry_at_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  // Begin of what is under way, or waits for its turn; Infinite: nothing does.
  absl::Duration since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  SequenceMark mark_ ABSL_GUARDED_BY(mutex_);  // as written; empty: not yet
  SequenceMark wanted_mark_ ABSL_GUARDED_BY(mutex_);
  absl::Duration expiry_at_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  bool retained_ ABSL_GUARDED_BY(mutex_) = false;  // in the last turn
  std::optional<Journal::Opened> opened_ ABSL_GUARDED_BY(mutex_);
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<uint64_t> close_at_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
