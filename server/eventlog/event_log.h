#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/eventlog/backlog.h"
#include "server/eventlog/event_meters.h"
#include "server/eventlog/event_range.h"
#include "server/eventlog/handed_log.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/stream_start.h"
#include "server/events/event_codec.h"
#include "server/events/vm_registry.h"
#include "server/logging/stop_line.h"
#include "watcher/core/event_sink.h"
#include "watcher/core/vm_event.h"

// The node's event log. Other folders include only this header, with the types that it includes,
// and event_listing.h.

namespace vmeventd {

struct EventLogOptions {
  JournalOptions journal;        // the sequence mark is the file `sequence` beside it
  size_t ring_bytes = 16 << 20;  // maximum size of the recent events in memory; events that wait
                                 // for the disk are not counted
  std::string node_id{};         // empty: not known
};

// Identity of the journal that the sequences belong to, and of its node.
struct JournalIdentity {
  std::string journal_id;
  std::string node_id;  // empty: not known
};

// A query for the history thread, which may take several turns. Each turn gets the journal's
// reader, or the reason why there is none, takes some milliseconds at most, and returns whether it
// was the last.
using HistoryQuery = std::function<absl::StatusOr<bool>(const absl::StatusOr<JournalReader*>&)>;

// Takes what the watcher saw, assigns each event its sequence, writes it to the journal and
// publishes it; answers queries about events and VMs. Its threads: two pumps, and the history
// thread, which reads the journal. A pump writes what waits and then publishes it; while it waits
// for the disk, the other pump publishes. Publication waits at most kPatience for the disk: then
// the event is public but not durable. Any thread, unless stated otherwise. Only Open, Close and
// Stop block for longer than it takes to copy pointers.
//
// Memory is bounded: while the disk fails or hangs, at most JournalOptions::max_backlog_bytes wait
// for it. The oldest events are dropped, and one GAP names them. Beyond twice that size, as in a
// burst that is faster than the disk, the event of an update is dropped unless it is evidence or
// somebody waits for it; beyond four times that size, any event is dropped. One GAP counts these.
// The newest state of each VM is never dropped.
class EventLog final : public EventSink {
 public:
  // Called by a pump in each of its turns, one at a time; may call gRPC. `published`: more events
  // can be read, or more of them are durable.
  using Subscriber = std::function<void(bool published)>;
  struct Health {
    // False: the last write failed, or a write lasts longer than Backlog::kMaxCommit, or one did
    // within the last Backlog::kSettled.
    bool journal_writable = true;
    Problem journal_problem;        // why it cannot be written
    absl::Duration journal_age;     // time for which the oldest change has waited to be written
    bool published_durable = true;  // the event published last is durable
    uint64_t dropped_events = 0;    // number of events that were not accepted
    size_t ring_bytes = 0;
    size_t backlog_events = 0;  // events that wait for the disk
    size_t backlog_bytes = 0;
    JournalBounds journal;
    int vms = 0;  // number of VMs that have not stopped
  };
  static constexpr absl::Duration kPatience = absl::Seconds(1);
  static constexpr absl::Duration kMaxRead = absl::Seconds(10);

  // Opens or creates the journal, determines which published events are lost, and publishes the VMs
  // that the journal knows and a GAP for the lost events. A damaged journal is replaced. While it
  // cannot be opened, events are not durable, and the writer tries again. FAILED_PRECONDITION: the
  // file belongs to another program. UNAVAILABLE: the journal cannot be opened, and the sequence
  // mark is missing or cannot be read. The open runs are those of `take_handed` or, without it,
  // of the journal. Events of `take_handed` wait for the disk again. `clock` outlives the log.
  static absl::StatusOr<std::unique_ptr<EventLog>> Open(const EventLogOptions& options,
                                                        const Clock* clock,
                                                        const TakeHanded& take_handed = nullptr);
  // Closes and stops, if that has not been done.
  ~EventLog() override;

  // The watcher's thread. Updates get their sequences at the end of the turn, or once kMaxPushed of
  // them wait.
  void Push(VmUpdate update) override;
  void EndTurn() override;
  // The time is recorded once all that was pushed before is in the journal.
  void Watched(absl::Time until) override;
  static constexpr size_t kMaxPushed = 256;

  // Returns the open runs that Open found, for the watcher; once.
  SavedRuns TakeRuns() { return std::exchange(saved_, {}); }
  // Returns whether these are all runs that the previous daemon left open. False: the journal could
  // not be read, is missing, was replaced, or is a copy.
  bool runs_are_known() const { return runs_are_known_; }
  // Returns up to which time the previous daemon watched; InfinitePast: not known, or there was
  // none.
  absl::Time last_watched() const { return last_watched_; }
  // Returns whether there was a previous daemon.
  bool follows_another() const { return follows_another_; }
  // Adds VMs before the watcher publishes them.
  void PutVms(std::vector<VmRecordPtr> vms) ABSL_LOCKS_EXCLUDED(mutex_) {
    const MutexLock lock(&mutex_);
    PutVmsLocked(std::move(vms));
  }
  // Call it before Start.
  void Subscribe(Subscriber subscriber) { subscribers_.push_back(std::move(subscriber)); }

  // Starts the threads. Without `pumps`, the caller does their work by Step and StepWriter.
  void Start(bool pumps = true);
  // Makes a pump take a turn.
  void Wake() {
    {
      const MutexLock lock(&mutex_);
      woken_ = true;
    }
    changed_.NotifyAll();
  }
  // Call it once nothing more will be pushed. Returns when all is public and durable; or only
  // public, if the journal cannot be written within `timeout`.
  void Close(absl::Duration timeout = absl::InfiniteDuration());
  // Returns the log for the next daemon, without the runs. Call it after Close.
  HandedLog HandOver() const;
  // Ends the other threads; later queries get UNAVAILABLE. Blocks while the disk hangs.
  void Stop();
  // Does one turn of a pump, after waiting at most `timeout` for something to do. False: the log is
  // closed and all of it is public. For tests and the simulation, instead of the threads.
  bool Step(absl::Duration timeout = absl::ZeroDuration());
  // Writes to the disk once; false: there was nothing to do, or another thread writes. The next
  // Step publishes what was written.
  bool StepWriter();
  // One turn of the history thread; false: nothing waits.
  bool StepHistory() { return reads_.RunTurn(); }

  // Returns where a stream begins. OUT_OF_RANGE names what is retained. UNAVAILABLE: the start is
  // in the journal, which is not open.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  // Returns the events from `sequence` on: about `max_bytes` of them, but at least one. The newest
  // are in memory, older ones in the journal.
  ReadResult Read(uint64_t sequence, size_t max_bytes) const;
  // Returns the events after range.committed.
  ReadResult ReadUncommitted() const;
  // Queries the journal for what Read or StreamBegin refers to it. Peers alternate. After Stop,
  // calls the first turn at once.
  void PostQuery(const std::string& peer, const HistoryQuery& query);
  // UNAVAILABLE: the turn of a query has waited for the disk for kMaxRead.
  absl::Status CheckReads() const;

  // Calls `read` with the VMs and the sequence up to which they are current, under the lock;
  // returns its result.
  auto Vms(const auto& read) const {
    const MutexLock lock(&mutex_);
    return read(vms_, newest_);
  }

  const std::string& path() const { return options_.path; }  // of the journal's file
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
    bool has_batch = false;   // it has a batch that is to be written
    uint64_t newest = 0;      // the last sequence assigned; its event may be dropped
    std::vector<v1::Vm> vms;  // in order
    std::vector<std::function<void()>> on_public;
    std::vector<StopLine> stop_lines;
    std::vector<absl::Duration> observed;  // observation times of the events
  };
  // Maximum number of snapshots that streams still send. Beyond it, a stream begins with the latest
  // of them, followed by the events since.
  static constexpr size_t kMaxSnapshots = 64;

  EventLog(const EventLogOptions& options, const Clock* clock, Journal::Opened begin,
           std::optional<HandedLog> handed);

  // Recording, by the watcher's thread, and by a pump for its own GAPs: event_log_recording.cc.

  // Adds an update to the unsubmitted changes; its event gets its sequence.
  void Take(VmUpdate* update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  void AddEvent(v1::Event event, const v1::Vm* vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Moves the unsubmitted changes to the backlog, and to those that are to be published.
  void Submit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Adds a GAP of the node as a whole.
  void AddGap(GapReason reason, const std::string& message, const Hole& missing = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);

  // The pump: event_log_pump.cc. It publishes what is written or has waited for kPatience.
  void RunPump();
  // Time at which the pump has something to do, on the monotonic clock; zero: now.
  absl::Duration NextPump() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration PublicationOf(const Unpublished& changes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds the GAP that counts the events for which there was no room.
  void AddGapOfRefused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Adds the GAP that names the sequences that are in no journal.
  void AddGapOfHole() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes the result of opening the journal.
  void TakeOpened() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes what is due, with the last status of each run. Returns whether there was an event.
  bool PublishDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  void ReportWritability() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);

  // The writer: event_log_writer.cc.

  // If `found` is DATA_LOSS, the journal is damaged: nothing more is written, and the next start
  // replaces it.
  void CheckDamage(const absl::Status& found);
  // Takes over the opened journal.
  void TakeJournal(Journal::Opened opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops the oldest changes that the backlog has no room for.
  void DropSome(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns why the journal is not writable.
  Problem WhyUnwritable(absl::Duration now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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
  // Drops the oldest events from memory while they exceed the maximum, except those that wait for
  // the disk.
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JournalOptions options_;
  const size_t ring_bytes_;
  const JournalIdentity identity_;
  const SequenceMark begin_;  // the journal's id, and the sequence after which new events begin
  const Clock* const clock_;
  SavedRuns saved_;
  bool runs_are_known_ = true;
  absl::Time last_watched_;
  bool follows_another_ = false;
  const bool knows_runs_;  // all runs that are open in the journal were handed over
  // The ids of runs that were handed over; complete before the threads start.
  absl::flat_hash_set<std::string> handed_runs_;
  std::vector<Subscriber> subscribers_;  // complete before the threads start
  std::vector<VmUpdate> pushed_;  // in this turn of the watcher's thread, which alone uses it
  TurnQueue reads_;
  EventMeters meters_;
  std::unique_ptr<JournalReader> reader_;  // history thread
  std::unique_ptr<Journal> journal_;       // used by the thread that writes; passed on under mutex_

  // Held while events get their sequences; before mutex_.
  Mutex recording_;
  uint64_t last_assigned_ ABSL_GUARDED_BY(recording_);  // a sequence
  uint64_t turns_ ABSL_GUARDED_BY(recording_) = 0;
  // The changes of the updates that are being handled, until Submit().
  Unpublished unsubmitted_ ABSL_GUARDED_BY(recording_);
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
  // The newest events, in order; those after newest_ are not public yet. Sequences may be missing.
  std::deque<EventPtr> ring_ ABSL_GUARDED_BY(mutex_);
  size_t memory_ ABSL_GUARDED_BY(mutex_) = 0;  // size of ring_
  uint64_t newest_ ABSL_GUARDED_BY(mutex_);
  VmRegistry vms_ ABSL_GUARDED_BY(mutex_);
  uint64_t vms_version_ ABSL_GUARDED_BY(mutex_) = 0;  // grows with each change
  bool reported_writable_ ABSL_GUARDED_BY(mutex_) = true;
  mutable std::vector<std::weak_ptr<const VmSnapshot>> snapshots_ ABSL_GUARDED_BY(mutex_);

  std::string file_ ABSL_GUARDED_BY(mutex_);  // see JournalEnd
  // For the pump: the result of opening, without its journal.
  std::optional<Journal::Opened> opened_ ABSL_GUARDED_BY(mutex_);
  bool pushed_all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // Begin of the history thread's turn; Infinite: it has none.
  absl::Duration reading_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();

  std::vector<std::thread> threads_;
};

}  // namespace vmeventd
