#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/eventlog/backlog.h"
#include "server/eventlog/event_meters.h"
#include "server/eventlog/event_range.h"
#include "server/eventlog/handed_log.h"
#include "server/eventlog/history.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/journal_identity.h"
#include "server/eventlog/log_start.h"
#include "server/eventlog/node_gap.h"
#include "server/eventlog/previous_daemon.h"
#include "server/eventlog/public_vms.h"
#include "server/eventlog/publication_queue.h"
#include "server/eventlog/recent_events.h"
#include "server/eventlog/recorder.h"
#include "server/eventlog/stream_start.h"
#include "server/events/vm_record.h"
#include "server/events/vm_registry.h"
#include "watcher/core/health_services.h"
#include "watcher/core/problem.h"
#include "watcher/core/service_health.h"
#include "watcher/core/update_sink.h"
#include "watcher/core/vm_update.h"

// The node's event log. Other folders include only this header, with the types that it includes,
// event_listing.h and stream_start.h.

namespace vmeventd {

struct EventLogOptions {
  JournalOptions journal;  // the sequence mark is the file `sequence` next to it
  // Maximum size of the recent events in memory. Events that wait for the disk are not counted.
  size_t ring_bytes = 16 << 20;
  // Maximum size of the events that wait for the disk. Beyond it, the oldest are dropped.
  size_t max_waiting_bytes = Backlog::kMaxBytes;
  std::string node_id{};  // empty: not known
};

// Takes what the watcher saw, assigns each event its sequence, writes it to the journal and
// publishes it; answers queries about events and VMs. Its threads: two pumps, and the history
// thread, which reads the journal. A pump writes what waits and then publishes it; while it waits
// for the disk, the other pump publishes. Publication waits at most PublicationQueue::kPatience for
// the disk: then the event is public but not durable. Any thread, unless stated otherwise. Only
// Open, Close and Stop block for longer than it takes to copy pointers.
//
// The decisions are in pure parts, which this class locks and runs: Recorder gives sequences,
// Backlog decides what is written and dropped, PublicationQueue what becomes public; RecentEvents
// and PublicVms are what is public.
//
// Memory is bounded: while the disk fails or hangs, at most EventLogOptions::max_waiting_bytes wait
// for it. The oldest events are dropped, and one GAP names them. Beyond twice that size, as in a
// burst that is faster than the disk, the event of an update is dropped unless it is evidence or
// somebody waits for it; beyond four times that size, any event is dropped. One GAP counts these.
// The newest state of each VM is never dropped.
class EventLog final : public UpdateSink {
 public:
  // Called by a pump in each of its turns, one at a time; may call gRPC. `published`: more events
  // can be read, or more of them are durable.
  using Subscriber = std::function<void(bool published)>;
  struct State {
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

  // The previous daemon, as Open found it. TakeRuns() moves its runs out, for the watcher.
  const PreviousDaemon& previous() const { return previous_; }
  SavedRuns TakeRuns() { return std::exchange(previous_.runs, {}); }
  // Adds VMs before the watcher publishes them.
  void PutVms(std::vector<VmRecordPtr> vms) ABSL_LOCKS_EXCLUDED(mutex_) {
    const MutexLock lock(&mutex_);
    vms_.Put(std::move(vms));
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
  bool StepHistory() { return history_.RunTurn(); }

  // Returns where a stream begins. OUT_OF_RANGE names what is retained. UNAVAILABLE: the start is
  // in the journal, which is not open.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  // Returns the events from `sequence` on: about `max_bytes` of them, but at least one. The newest
  // are in memory, older ones in the journal.
  ReadResult Read(uint64_t sequence, size_t max_bytes) const;
  // Returns the events after range.committed.
  ReadResult ReadUncommitted() const;
  // Queries the journal if Read or StreamBegin refers to it. Peers alternate. After Stop, calls the
  // first turn at once.
  void PostQuery(const std::string& peer, const HistoryQuery& query) { history_.Post(peer, query); }
  // UNAVAILABLE: the turn of a query has waited for the disk for History::kMaxRead.
  absl::Status CheckReads() const { return history_.CheckReads(); }

  // Calls `read` with the VMs and the sequence up to which they are current, under the lock;
  // returns its result.
  auto Vms(const auto& read) const {
    const MutexLock lock(&mutex_);
    return read(vms_.registry(), recent_.newest());
  }

  const std::string& path() const { return options_.path; }  // of the journal's file
  const JournalIdentity& identity() const { return identity_; }
  EventRange range() const {
    const MutexLock lock(&mutex_);
    return RangeLocked();
  }
  State state() const;
  // The health service "journal". It serves while published events are durable.
  ServiceHealth Health() const { return {kJournalService, state().journal_writable}; }
  // The same service while there is no log.
  static ServiceHealth NotServing() { return {kJournalService, false}; }
  const Clock& clock() const { return *clock_; }
  const EventMeters& meters() const { return meters_; }

 private:
  friend struct EventLogForTests;
  EventLog(const EventLogOptions& options, const Clock* clock, LogStart start);

  // Recording, by the watcher's thread, and by a pump for its own GAPs: event_log_recording.cc.

  // Hands the changes that were recorded to the backlog, and to those that are to be published.
  void Submit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Records and submits a GAP.
  void AddGap(const NodeGap& gap) ABSL_EXCLUSIVE_LOCKS_REQUIRED(recording_);
  // Publishes again what the previous daemon handed over.
  void TakeHandedEvents(JournalBatch unwritten);

  // The pump: event_log_pump.cc. It publishes what is due.
  void RunPump();
  // Time at which the pump has something to do, on the monotonic clock; zero: now.
  absl::Duration NextPump() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds the GAPs of the backlog that are due.
  void AddDueGaps() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes the result of opening the journal.
  void TakeOpened() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  // Publishes what is due, with the last status of each run. Returns whether there was an event.
  bool PublishDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);
  void ReportWritability() ABSL_EXCLUSIVE_LOCKS_REQUIRED(turn_);

  // The writer: event_log_writer.cc.

  // Handles the result of an access: after DATA_LOSS nothing more is written, and the next start
  // replaces the journal.
  void CheckDamage(const absl::Status& found);
  // Takes over the opened journal.
  void TakeJournal(Journal::Opened opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops the oldest changes that the backlog has no room for.
  void DropSome(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The public state: event_log.cc.

  absl::StatusOr<uint64_t> CursorAfter(const AfterSequence& start) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  EventRange RangeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // UNAVAILABLE: the journal is not open.
  absl::Status CheckOpen() const;
  // Drops the oldest events from memory while they exceed the maximum, except those that wait for
  // the disk.
  void Trim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JournalOptions options_;
  const JournalIdentity identity_;
  const SequenceMark begin_;  // the journal's id, and the sequence after which new events begin
  const Clock* const clock_;
  PreviousDaemon previous_;
  const bool knows_runs_;  // all runs that are open in the journal were handed over
  // The ids of runs that were handed over; complete before the threads start.
  absl::flat_hash_set<std::string> handed_runs_;
  std::vector<Subscriber> subscribers_;  // complete before the threads start
  std::vector<VmUpdate> pushed_;  // in this turn of the watcher's thread, which alone uses it
  EventMeters meters_;
  History history_;
  std::unique_ptr<Journal> journal_;  // used by the thread that writes; passed on under mutex_

  // Held while events get their sequences; before mutex_.
  Mutex recording_;
  Recorder recorder_ ABSL_GUARDED_BY(recording_);

  // Held for a turn of a pump, also while it calls its subscribers; before recording_.
  Mutex turn_;
  absl::Duration unwritable_since_ ABSL_GUARDED_BY(turn_);
  std::pair<uint64_t, uint64_t> reported_durable_ ABSL_GUARDED_BY(turn_);

  mutable Mutex mutex_;
  CondVar changed_;                             // of woken_
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;  // a pump is to take a turn
  CondVar closing_;                             // of the backlog's close_at() and closed()
  Backlog backlog_ ABSL_GUARDED_BY(mutex_);
  PublicationQueue unpublished_ ABSL_GUARDED_BY(mutex_);
  RecentEvents recent_ ABSL_GUARDED_BY(mutex_);
  PublicVms vms_ ABSL_GUARDED_BY(mutex_);
  bool reported_writable_ ABSL_GUARDED_BY(mutex_) = true;
  std::string file_ ABSL_GUARDED_BY(mutex_);  // see JournalEnd
  // The result of opening, without its journal, for the pump.
  std::optional<Journal::Opened> opened_ ABSL_GUARDED_BY(mutex_);
  bool pushed_all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace vmeventd
