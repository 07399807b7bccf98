#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/eventlog/backlog.h"
#include "server/eventlog/journal.h"
#include "server/events/event_codec.h"
#include "server/events/vm_registry.h"
#include "server/logging/logging.h"
#include "watcher/core/vm_event.h"

// The node's event log: with event_listing.h all of this folder that others include.

namespace vmeventd {

struct EventLogOptions {
  JournalOptions journal;        // the sequence mark is the file `sequence` beside it
  size_t ring_bytes = 16 << 20;  // maximum size of the recent events in memory; events that wait
                                 // for the disk are not counted
  std::string node_id{};         // empty: not known
};

// End of a journal: its file has the events up to `stored`, and none behind `newest`.
struct JournalEnd {
  std::string file;  // FileIdentity() of the database; empty: there is none
  uint64_t stored = 0;
  uint64_t newest = 0;

  // Returns whether both can be of the same contents.
  bool Meets(const JournalEnd& other) const {
    return file == other.file && stored <= other.newest && other.stored <= newest;
  }
};
// Log of a daemon that stops, for the next one.
struct HandedLog {
  std::string journal_id;
  JournalEnd end;                                   // `newest` is the last sequence that it gave
  bool knows_runs = true;                           // `runs` has all that are open in the journal
  Journal::Batch unwritten;                         // events, and VMs that stopped
  SavedRuns runs;                                   // that are open
  absl::Time watched_until = absl::InfinitePast();  // see ReadAlive()
};
// Returns what the daemon before handed over, if it left the journal with the end that was found.
using TakeHanded = std::function<std::optional<HandedLog>(const JournalEnd& found)>;

// Start of a stream or a listing.
struct FromNow {};
struct FromSnapshot {
  bool stopped = false;  // with the VMs that have stopped
};
struct AfterSequence {
  uint64_t sequence = 0;
  std::string journal_id;
};
struct Since {
  absl::Time time;  // InfinitePast: the oldest event
};
using WatchStart = std::variant<FromNow, FromSnapshot, AfterSequence, Since>;

// Start of a stream: everything up to `cursor` is behind it.
struct StreamBegin {
  uint64_t cursor = 0;
  // Time at which the stream begins, which is behind `cursor`; the journal finds the sequence, and
  // earlier events are skipped. Unset: `cursor` counts. InfinitePast: at the oldest event.
  std::optional<absl::Time> locate;
  VmSnapshotPtr snapshot;     // the VMs at `cursor`, if requested
  bool with_stopped = false;  // its VMs that have stopped are wanted
};

// Identity of the journal that gives the sequences, and of its node.
struct JournalIdentity {
  std::string journal_id;
  std::string node_id;  // empty: not known
};

// The bounds of what is retained, in memory or in the journal.
struct EventRange {
  uint64_t oldest = 1;  // newest + 1 if nothing is retained
  uint64_t newest = 0;
  // First sequence from which on nothing is missing but what a GAP names. A stream may begin with
  // any of them.
  uint64_t unbroken_from = 1;
  // The newest sequence in the journal; and the one up to which every event is in the journal or
  // named by a GAP that is.
  uint64_t committed = 0;
  uint64_t durable = 0;
};

// Both empty: there is no event at or after the sequence yet.
struct ReadResult {
  std::vector<EventPtr> events;
  // Set: the events up to this one are to be read first, and only the journal has them.
  std::optional<uint64_t> in_journal_through;
  EventRange range;
};

// A question for the history thread that may take several turns. Each gets the journal's reader, or
// why there is none, takes some milliseconds at most, and returns whether it was the last.
using HistoryQuery = std::function<absl::StatusOr<bool>(const absl::StatusOr<JournalReader*>&)>;

// Meters of published events and of the journal's writing. The log counts, any thread reads.
struct EventMeters {
  std::array<Counter, static_cast<size_t>(kLastEventType) + 1> events;  // by type
  // STOPPED, by class and cause.
  std::array<std::array<Counter, static_cast<size_t>(kLastShutdownCause) + 1>,
             static_cast<size_t>(kLastShutdownClass) + 1>
      stops;
  // Measured by the node's wall clock, with which QEMU stamps its events: a step of the clock
  // between the two shows here.
  LatencyHistogram qemu_to_observed;
  LatencyHistogram observed_to_durable;
  LatencyHistogram commits;  // each transaction, its sync to the disk included
  Counter write_errors;      // transactions that failed
  Counter lost_events;       // published events that are in no journal
  Counter retention_errors;  // failures to delete what is too old
};

// Takes what the watcher saw, gives each event its sequence, has it written and makes it public;
// answers for events and VMs. Its threads: two pumps, and the history thread, which reads the
// journal. A pump writes what waits and publishes it then; while it waits for the disk, the other
// one publishes. Publication waits at most kPatience for the disk: then the event is public and not
// durable. Any thread, unless stated otherwise. No call but Open, Close and Stop blocks for longer
// than it takes to copy pointers.
//
// Bounded: while the disk fails or hangs, no more than JournalOptions::max_backlog_bytes wait for
// it. The oldest events go, and one GAP names them. Beyond twice as much, as in a burst that is
// faster than the disk, an update loses its event unless that is evidence, or somebody waits for
// it; beyond four times as much it loses any event. One GAP counts them. No VM loses its newest
// state.
class EventLog final : public EventSink {
 public:
  // Called by a pump in each of its turns, one at a time; may call gRPC. `published`: there is more
  // to read, or to read as durable.
  using Subscriber = std::function<void(bool published)>;
  struct Health {
    // False: a write has failed, or lasts longer than Backlog::kMaxCommit, or one has
    // within Backlog::kSettled.
    bool journal_writable = true;
    std::string journal_problem;    // the file, and why it cannot be written
    absl::Duration journal_age;     // how long the oldest change has waited to be written
    bool published_durable = true;  // what was published last
    uint64_t dropped_events = 0;    // number of those that were not taken
    size_t ring_bytes = 0;
    size_t backlog_events = 0;  // events that wait for the disk
    size_t backlog_bytes = 0;
    JournalBounds journal;
    int vms = 0;  // that have not stopped
  };
  static constexpr absl::Duration kPatience = absl::Seconds(1);
  static constexpr absl::Duration kMaxRead = absl::Seconds(10);

  // Opens or creates the journal, determines which published events are lost, and publishes the VMs
  // that the journal knows and a GAP for what is lost. A damaged journal is replaced. While it
  // cannot be opened, events are not durable, and the writer tries again. FAILED_PRECONDITION: the
  // file is another program's. UNAVAILABLE: nothing can be read of what it was. Open runs are those
  // of `take_handed`, else of the journal. Events of `take_handed` wait for the disk again. `clock`
  // outlives the log.
  static absl::StatusOr<std::unique_ptr<EventLog>> Open(const EventLogOptions& options,
                                                        const Clock* clock,
                                                        const TakeHanded& take_handed = nullptr);
  // Closes and stops, if that has not been done.
  ~EventLog() override;

  // The watcher's thread. What is pushed takes its place in the log at the turn's end, or once
  // kMaxPushed updates wait for that.
  void Push(VmUpdate update) override;
  void EndTurn() override;
  // Recorded once all that was pushed before is in the journal.
  void Watched(absl::Time until) override;
  static constexpr size_t kMaxPushed = 256;

  // Returns the open runs that Open found, for the watcher; once.
  SavedRuns TakeRuns() { return std::exchange(saved_, {}); }
  // Returns how far the daemon before has watched; InfinitePast: not known, or there was none.
  absl::Time last_watched() const { return last_watched_; }
  // Returns whether there was a daemon before.
  bool follows_another() const { return follows_another_; }
  // Makes VMs known before the watcher publishes them.
  void PutVms(std::vector<VmRecordPtr> vms) ABSL_LOCKS_EXCLUDED(mutex_) {
    const MutexLock lock(&mutex_);
    PutVmsLocked(std::move(vms));
  }
  // Call it before Start.
  void Subscribe(Subscriber subscriber) { subscribers_.push_back(std::move(subscriber)); }

  // Without the pumps Step and StepWriter do their work.
  void Start(bool pumps = true);
  // Makes a pump take a turn.
  void Wake() {
    {
      const MutexLock lock(&mutex_);
      woken_ = true;
    }
    changed_.NotifyAll();
  }
  // Call it once nothing more will be pushed. Returns when all is public and durable; or public
  // alone, if the journal cannot be written within `timeout`.
  void Close(absl::Duration timeout = absl::InfiniteDuration());
  // Returns what it leaves to the next daemon, without the runs. Call it after Close.
  HandedLog HandOver() const;
  // Ends the other threads; later questions get UNAVAILABLE. Waits for a disk that hangs.
  void Stop();
  // One turn of a pump, after waiting for something to do at most `timeout`. False: the log is
  // closed and all of it is public. For tests and the simulation, instead of the threads.
  bool Step(absl::Duration timeout = absl::ZeroDuration());
  // Writes to the disk once; false: there was nothing to do, or another thread writes. The next
  // Step publishes what was written.
  bool StepWriter();
  // One turn of the history thread; false: nothing waits.
  bool StepHistory() { return reads_.RunTurn(); }

  // OUT_OF_RANGE names what is retained. UNAVAILABLE: the journal is not open, and the start is in
  // it.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  // The events from `sequence` on, about `max_bytes` of them, but at least one: the newest are in
  // memory, older ones in the journal.
  ReadResult Read(uint64_t sequence, size_t max_bytes) const;
  // The events behind range.committed.
  ReadResult ReadUncommitted() const;
  // Asks the journal what a Read or a StreamBegin leaves to it. Peers alternate. After Stop, the
  // first turn is called at once.
  void PostQuery(const std::string& peer, const HistoryQuery& query);
  // UNAVAILABLE: the turn of a question has waited for the disk for kMaxRead.
  absl::Status CheckReads() const;

  // Returns what `read` returns of the VMs, and of the sequence up to which they are current.
  auto Vms(const auto& read) const {
    const MutexLock lock(&mutex_);
    return read(vms_, newest_);
  }

  const JournalIdentity& identity() const { return identity_; }
  EventRange range() const {
    const MutexLock lock(&mutex_);
    return RangeLocked();
  }
  Health health() const;
  const Clock& clock() const { return *clock_; }
  const EventMeters& meters() const { return meters_; }

 private:
  friend struct EventLogForTests;
  // Changes of one turn of the watcher, until they are public.
  struct Unpublished {
    uint64_t turn = 0;
    absl::Duration added;
    bool has_batch = false;   // it has one that is to be written
    uint64_t newest = 0;      // the last sequence given, whose event may be lost
    std::vector<v1::Vm> vms;  // in order
    std::vector<std::function<void()>> on_public;
    std::vector<StopLine> stop_lines;
    std::vector<absl::Duration> observed;  // observation times of the events
  };
  // Limit of the snapshots that streams still send: beyond it, a stream begins with the latest of
  // them, and with the events since.
  static constexpr size_t kMaxSnapshots = 64;

  EventLog(const EventLogOptions& options, const Clock* clock, Journal::Opened begin,
           std::optional<HandedLog> handed);

  // Recording, by the watcher's thread, and by a pump for a GAP of its own: event_log_recording.cc.
  // Each event gets its sequence, and with it its place among the changes.
  void Take(VmUpdate* update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  void AddEvent(v1::Event event, const v1::Vm* vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Adds what was taken to the changes.
  void Submit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Adds a GAP of the node as a whole.
  void AddGap(GapReason reason, const std::string& message, const Hole& missing = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);

  // The pump: event_log_pump.cc. It publishes what is written or has waited for kPatience.
  void RunPump();
  // Time at which it has something to do, on the monotonic clock; zero: now.
  absl::Duration NextPump() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration PublicationOf(const Unpublished& changes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NameDropped() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  void NameHole() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes what the opening of the journal found.
  void TakeOpened() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes what is due, with the last status of each run. Returns whether there was an event.
  bool PublishDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  void ReportWritability() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);

  // The writer: event_log_writer.cc.

  // The journal is damaged, as `found` says if it is DATA_LOSS: nothing more is written, and the
  // next start replaces it.
  void CheckDamage(const absl::Status& found);
  // Takes over the journal, which is open.
  void TakeJournal(Journal::Opened opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets what the backlog has no room for.
  void DropSome(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why the journal is not writable.
  std::string Problem(absl::Duration now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // ": the disk does not answer, for 3s now".
  static std::string NoAnswerFor(absl::Duration hung);

  // The public state: event_log.cc.

  // The journal's reader, or why there is none. History thread.
  absl::StatusOr<JournalReader*> Reader();
  StreamBegin BeginSnapshot() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  EventRange RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The first event in memory from `sequence` on.
  std::deque<EventPtr>::const_iterator InMemory(uint64_t sequence) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The oldest public event in memory; newest + 1 if there is none.
  uint64_t OldestInMemory() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ring_.empty() ? newest_ + 1 : std::min(newest_ + 1, ring_.front()->sequence);
  }
  void PutVmsLocked(std::vector<VmRecordPtr> vms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets the oldest events in memory that are more than it may hold, and do not wait.
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JournalOptions options_;
  const size_t ring_bytes_;
  const JournalIdentity identity_;
  const SequenceMark begin_;  // the journal's id, and the sequence behind which new events begin
  const Clock* const clock_;
  SavedRuns saved_;
  absl::Time last_watched_;
  bool follows_another_ = false;
  const bool knows_runs_;  // all that are open in the journal were handed over
  // The ids of runs that were handed over; complete before the threads start.
  absl::flat_hash_set<std::string> handed_runs_;
  std::vector<Subscriber> subscribers_;  // complete before the threads start
  std::vector<VmUpdate> pushed_;         // in this turn of the watcher's thread, which has it
  TurnQueue reads_;
  EventMeters meters_;
  std::unique_ptr<JournalReader> reader_;  // history thread
  std::unique_ptr<Journal> journal_;       // who writes; between turns by mutex_

  // Held while events get their sequences; before mutex_.
  Mutex recording_;
  uint64_t given_ ABSL_GUARDED_BY(recording_);  // sequence that was given last
  uint64_t turns_ ABSL_GUARDED_BY(recording_) = 0;
  // Of the updates being handled.
  Unpublished taking_ ABSL_GUARDED_BY(recording_);
  Journal::Batch batch_ ABSL_GUARDED_BY(recording_);
  // The newest event of each run that waits to be public.
  absl::flat_hash_map<std::string, uint64_t> last_sequences_ ABSL_GUARDED_BY(recording_);

  // Held for a turn of a pump, also while it calls its subscribers; before recording_.
  Mutex turn_;
  absl::Duration unwritable_since_ ABSL_GUARDED_BY(turn_);
  std::pair<uint64_t, uint64_t> reported_durable_ ABSL_GUARDED_BY(turn_);

  mutable Mutex mutex_;
  CondVar changed_;                             // of woken_
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;  // a pump is to take a turn
  CondVar closing_;                             // of the backlog's close_at() and closed()
  std::deque<Unpublished> unpublished_ ABSL_GUARDED_BY(mutex_);  // by their turns
  Backlog backlog_ ABSL_GUARDED_BY(mutex_);
  // The public state.
  // The newest events, in order; those behind newest_ are not public yet. Sequences may be missing.
  std::deque<EventPtr> ring_ ABSL_GUARDED_BY(mutex_);
  size_t memory_ ABSL_GUARDED_BY(mutex_) = 0;  // size of ring_
  uint64_t newest_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  uint64_t vms_version_ ABSL_GUARDED_BY(mutex_) = 0;  // grows with each change
  bool reported_writable_ ABSL_GUARDED_BY(mutex_) = true;
  mutable std::vector<std::weak_ptr<const VmSnapshot>> snapshots_ ABSL_GUARDED_BY(mutex_);

  std::string file_ ABSL_GUARDED_BY(mutex_);  // see JournalEnd
  // For the pump, without its journal.
  std::optional<Journal::Opened> opened_ ABSL_GUARDED_BY(mutex_);
  bool pushed_all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // Begin of the history thread's turn; Infinite: it takes none.
  absl::Duration reading_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();

  std::vector<std::thread> threads_;
};

}  // namespace vmeventd
