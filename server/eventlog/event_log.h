#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/events/event_block.h"
#include "server/events/event_matcher.h"
#include "server/events/event_meters.h"
#include "server/events/vm_registry.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"

// The node's event log: the only header of this folder that others include.

namespace vmeventd {

class JournalReader;  // the history thread's, for one turn of a query

struct JournalOptions {
  std::string path;  // database file; its directory exists
  absl::Duration retention_age = absl::Hours(24 * 30);
  int64_t retention_events = 1'000'000;
  // Limit of the events that wait for the disk; beyond it, the oldest are dropped.
  static constexpr size_t kMaxBacklogBytes = 32 << 20;
  size_t max_backlog_bytes = kMaxBacklogBytes;
};

// The newest events in memory, and beyond that those that wait for the disk.
struct EventRingOptions {
  size_t max_bytes = 16 << 20;
  size_t max_events = 1'000'000;
};

struct LiveStateOptions {
  EventRingOptions ring;
  size_t max_stopped = 10'000;
};

struct EventLogOptions {
  JournalOptions journal;  // the sequence mark is the file `sequence` beside it
  LiveStateOptions live{};
  std::string node_id{};        // empty: not known
  size_t max_queued = 100'000;  // updates of VMs
};

// The saved state of an open run; empty: it is over.
struct SavedRun {
  std::string run_id;
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};

// State that the daemon before this one left, for the watcher.
struct SavedState {
  std::vector<SavedRun> runs;   // open runs
  bool journal_is_new = false;  // its events name no open runs
};

// Start of a stream or a listing.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct AfterSequence {
  uint64_t sequence = 0;
  std::string journal_id;
};
struct Since {
  absl::Time time;
};
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, AfterSequence, Since>;

// Start of a stream: everything up to `cursor` is behind it.
struct StreamBegin {
  uint64_t cursor = 0;
  // Time at which the stream begins, which is behind `cursor`; the journal finds the sequence.
  // Unset: `cursor` counts. InfinitePast: at the oldest event.
  std::optional<absl::Time> locate;
  absl::Time since = absl::InfinitePast();  // earlier ones are skipped
  VmSnapshotPtr snapshot;                   // state as of `cursor`, if requested
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

// Request for what only the journal holds: the first events since `locate`, and their sequence, or
// else the events [first, last].
struct HistoryRequest {
  std::optional<absl::Time> locate;
  uint64_t first = 0;
  uint64_t last = 0;
};
struct HistoryAnswer {
  uint64_t first = 0;                 // sequence at which the blocks begin
  std::vector<EventBlockPtr> blocks;  // retained events of [first, through]
  uint64_t through = 0;
};

struct ReadOptions {
  size_t max_bytes = 0;  // approximate, but at least one block
};
// Both empty: there is no event at or after the sequence yet.
struct ReadResult {
  std::vector<EventBlockPtr> blocks;      // blocks from the sequence's own on
  std::optional<HistoryRequest> history;  // set: events to read first, which only the journal has
  EventRange range;
};

// A question for the history thread that may take several turns. Each gets the journal's reader, or
// why there is none, takes some milliseconds at the most, and returns whether it was the last.
struct HistoryQuery {
  std::function<absl::StatusOr<bool>(absl::StatusOr<JournalReader*>)> turn;
  // Returns whether nobody waits for the answer any longer; the next turn then gets CANCELLED.
  std::function<bool()> cancelled;
};

// A listing: the events that pass `matcher` and were observed in [start, end).
struct ListBounds {
  absl::Time start = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();
  int page_size = 100;
  bool newest_first = false;
};
// State of a listing between its turns.
struct ListPosition {
  uint64_t sequence = 0;  // to continue at; 0: where the order begins
  // A client named it, and must learn if retention has passed it. Otherwise the listing continues
  // with what is left.
  bool named = false;
  // Sequences that the times leave; found in the first turn.
  std::optional<std::pair<uint64_t, uint64_t>> within;
};
// The result of one turn of a listing.
struct EventListing {
  std::string events;   // encoded, as `events` fields
  int count = 0;        // number of events
  uint64_t next = 0;    // sequence to continue at; 0: there are no more
  bool in_turn = true;  // false: the turn ended before `page_size` or `max_bytes` was reached
};

// Takes what the watcher saw, gives each event its sequence, has it written and makes it public;
// answers for events and VMs. Its threads: the pump, which publishes; the writer, which writes; and
// the history thread, which reads the journal. Publication waits at most kPatience for the disk:
// then the event is public and not durable. Any thread, unless stated otherwise. No call but Open,
// Close and Stop blocks for longer than it takes to copy pointers.
class EventLog {
 public:
  // Callbacks on the pump thread. Each function may be empty, and may call gRPC.
  struct Subscriber {
    std::function<void()> published{};             // there is more to read, or to read as durable
    std::function<void(bool)> journal_writable{};  // writability has changed, to the argument
    std::function<void()> turn{};                  // a turn of the pump is over
  };
  struct Health {
    bool journal_writable = true;     // false: a write has failed, or lasts longer than kMaxCommit
    absl::Duration journal_age;       // how long the oldest change has waited to be written
    bool published_durable = true;    // what was published last
    bool directories_present = true;  // each one of --watch
    size_t queued = 0;                // updates that wait for the pump
    size_t max_queued = 0;
    uint64_t dropped_events = 0;  // number dropped by a full queue
    uint64_t ring_events = 0;
    size_t ring_bytes = 0;
  };
  static constexpr absl::Duration kPatience = absl::Seconds(1);
  static constexpr absl::Duration kMaxCommit = absl::Seconds(2);
  struct VmPage {
    std::vector<VmRecordPtr> vms;
    uint64_t sequence = 0;  // sequence up to which they are current
  };

  // Opens or creates the journal, determines which published events are lost, and publishes the VMs
  // that the journal knows and a GAP for what is lost. A damaged journal is replaced. While it
  // cannot be opened, events are not durable, and the writer tries again. FAILED_PRECONDITION: the
  // file is another program's. UNAVAILABLE: nothing can be read of what it was. `clock` outlives
  // the log.
  static absl::StatusOr<std::unique_ptr<EventLog>> Open(const EventLogOptions& options,
                                                        const Clock* clock);
  // Closes and stops, if that has not been done.
  ~EventLog();

  // Returns what Open found; once.
  SavedState TakeSaved();
  // The watcher's thread pushes; never waits.
  EventSink* sink();
  // Call it before Start.
  void Subscribe(Subscriber subscriber);

  // Threads that run; Step, StepWriter and StepHistory do the others' work.
  enum class Threads { kAll, kHistory };
  void Start(Threads threads = Threads::kAll);
  // Makes the pump take a turn.
  void Wake();
  // Call it once nothing more will be pushed. Returns when all is public and durable; or public
  // alone, if the journal cannot be written within `timeout`.
  void Close(absl::Duration timeout = absl::InfiniteDuration());
  // Ends the other threads; pending and later questions get UNAVAILABLE. Waits for a disk that
  // hangs.
  void Stop();
  // One turn of the pump, after waiting for something to do at most `timeout`. False: the sink is
  // closed and all of it is public. For tests and the simulation, instead of the thread.
  bool Step(absl::Duration timeout = absl::ZeroDuration());
  // One turn of the writer; false: there was nothing to do.
  bool StepWriter();
  // Time at which Step, or StepWriter, next has something to do, on the monotonic clock; zero: now.
  absl::Duration NextStep() const;
  absl::Duration NextWrite() const;
  // One turn of the history thread; false: nothing waits.
  bool StepHistory();

  // OUT_OF_RANGE names what is retained. UNAVAILABLE: the journal is not open, and the start is in
  // it.
  absl::StatusOr<StreamBegin> Begin(const WatchStart& start) const;
  // The events from `sequence` on: the newest are in memory, older ones in the journal.
  ReadResult Read(uint64_t sequence, const ReadOptions& options) const;
  // Answers what a Read or a StreamBegin leaves to the journal, with about `max_bytes()`, which is
  // asked when it is read. `done` is called on the history thread, or at once after Stop. Peers
  // alternate.
  void ReadHistory(const std::string& peer, const HistoryRequest& request,
                   std::function<size_t()> max_bytes,
                   std::function<void(absl::StatusOr<HistoryAnswer>)> done);
  void PostQuery(const std::string& peer, HistoryQuery query);
  // Lists from `position`, which it sets for the next turn. Searches for some milliseconds,
  // whatever the filter, and advances by at least one event. OUT_OF_RANGE: the position was named
  // and is no longer retained. Within a turn of a HistoryQuery.
  absl::StatusOr<EventListing> List(JournalReader* journal, const EventMatcher& matcher,
                                    const ListBounds& bounds, ListPosition* position,
                                    size_t max_bytes) const;

  // See VmRegistry.
  VmPage Vms(const VmKey* after, size_t limit) const;
  std::vector<VmRecordPtr> VmsNamed(absl::string_view name) const;
  std::vector<VmRecordPtr> VmsWithUuid(const Uuid& uuid) const;
  VmRecordPtr FindVm(const VmKey& key) const;
  std::vector<VmRecordPtr> LastStoppedVms(size_t limit) const;
  int vm_count() const;
  VmCounts vm_counts() const;
  std::vector<WatchedDirectory> directories() const;

  const JournalIdentity& identity() const;
  EventRange range() const;
  Health health() const;
  const Clock& clock() const;
  const EventMeters& event_meters() const;
  const JournalMeters& journal_meters() const;

 private:
  friend struct EventLogForTests;
  struct Parts;

  explicit EventLog(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace vmeventd
