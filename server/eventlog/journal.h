#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_codec.h"
#include "server/events/event_matcher.h"
#include "server/events/event_page.h"
#include "server/events/vm_registry.h"

namespace vmeventd {

struct JournalOptions {
  std::string path;  // database file; its directory exists
  absl::Duration retention_age = absl::Hours(24 * 30);
  int64_t retention_events = 1'000'000;
  // Limit of the events that wait for the disk; beyond it, the oldest are dropped.
  static constexpr size_t kMaxBacklogBytes = 32 << 20;
  size_t max_backlog_bytes = kMaxBacklogBytes;
};

// The saved state of an open run; an empty `payload`: the run is over.
struct SavedRun {
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};
using SavedRuns = std::map<std::string, SavedRun>;  // by run_id

// Bounds of the journal's rows.
struct JournalBounds {
  uint64_t oldest = 1;  // the first event; newest + 1 without one
  uint64_t newest = 0;  // the last event; without one, the sequence before the first
  // Every event up to `deleted` was deleted, and some of those up to `thinned`.
  uint64_t deleted = 0;
  uint64_t thinned = 0;
  int64_t events = 0;
  absl::Time oldest_time = absl::InfiniteFuture();
};

// Sequences of a journal that may be in use, stored in the file `sequence` beside the database.
// They are reserved in ranges, so that one sync covers many events. After an orderly stop,
// `through` is the newest event.
struct SequenceMark {
  std::string journal_id;  // empty: there is no mark
  uint64_t through = 0;
};
// Returns an empty mark if there is none. An error: it cannot be read now.
absl::StatusOr<SequenceMark> ReadMark(const std::string& journal_path);
absl::Status WriteMark(const std::string& journal_path, const SequenceMark& mark);
// Time up to which the daemon has watched, stored in the file `alive` beside the database:
// everything that happened to VMs until then is in the journal. Not synced: after a loss of power,
// it may be an earlier time. InfinitePast: not known.
absl::Time ReadAlive(const std::string& journal_path);
absl::Status WriteAlive(const std::string& journal_path, absl::Time until);
// Number of sequences to reserve: more than there are events while a disk hangs.
inline constexpr uint64_t kReservedSequences = 1'000'000'000;

// Sequences that are in no journal and that no GAP names. Some of them may never have had an event.
struct Hole {
  uint64_t first = 0;
  uint64_t last = 0;

  bool empty() const { return last == 0; }
};

// Types of the events that are dropped and deleted last.
inline constexpr v1::EventType kEvidence[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_STOPPED,
                                              v1::EVENT_TYPE_INTENT_DECLARED,
                                              v1::EVENT_TYPE_INTENT_ENDED, v1::EVENT_TYPE_GAP};
bool IsEvidence(v1::EventType type);
// For people: "STARTED, STOPPED, INTENT_DECLARED, INTENT_ENDED and GAP".
std::string EvidenceNames();

// Returns the identity of a file, "INODE BIRTH" with the birth time in nanoseconds; a copy has
// another one. The birth time is 0 if the file system does not store it.
std::string FileIdentity(const std::string& path);

// The events and the open runs on disk: an SQLite database in WAL mode, synchronous=FULL, whose
// tables docs/internals/journal.md describes. This is the only writer; a JournalReader reads at the
// same time. One thread. Every call may block while the disk hangs.
class Journal {
 public:
  // Changes of one transaction.
  struct Batch {
    std::vector<EventPtr> events;  // in order, all beyond newest
    SavedRuns runs;
    std::map<uint64_t, std::shared_ptr<const v1::Vm>> stops;  // by last_sequence
    Hole hole{};
    bool hole_is_named = false;  // a GAP of these events names it; else the next start must

    size_t bytes = 0;  // approximate memory of the events and the runs

    bool empty() const { return events.empty() && runs.empty() && stops.empty(); }
    void Put(EventPtr event) {
      bytes += event->memory();
      events.push_back(std::move(event));
    }
    void Put(const std::string& run_id, SavedRun run);
    // Appends the changes that follow it.
    void Add(const Batch& next);
  };
  struct Opened;

  // Opens the database, or creates it. A damaged one, and one of another version, is moved aside
  // first. Damage that SQLite reports counts only after CheckDatabase() has confirmed it.
  // FAILED_PRECONDITION: it belongs to another program. UNAVAILABLE: it cannot be opened now.
  static absl::StatusOr<Opened> Open(const JournalOptions& options, absl::Time now);
  // Opens or creates it for a daemon that has started without it, with sequences after `begin`.
  // Moves nothing aside. DATA_LOSS: it is damaged, or has events after `begin`; damage that was
  // reported counts only if the file does not pass a check now.
  static absl::StatusOr<Opened> OpenLate(const JournalOptions& options, const SequenceMark& begin);

  const std::string& journal_id() const { return journal_id_; }
  // Gives it another id, with the same events. The id is stored with the next batch.
  void Rename(const std::string& journal_id) {
    if (journal_id != journal_id_) identity_is_stored_ = false;
    journal_id_ = journal_id;
  }
  const JournalBounds& bounds() const { return bounds_; }

  // Writes the batch durably. After an error it may be retried. DATA_LOSS: the journal is damaged,
  // as CheckDatabase() confirms, or its file is no longer at its path.
  absl::Status Append(const Batch& batch);

  // Returns whether the events exceed the limit by more than a hundredth. After a failure, false
  // until the next success: on a full disk, deleting fails just as writing does.
  bool RetentionIsDue() const;
  // Deletes at most a thousand events, after all are counted, and returns whether there is more to
  // do. Events beyond the retention age are deleted, oldest first, unless the clock was set lately.
  // Beyond the maximum number, the oldest events of the VMs with the most events are deleted; those
  // of kEvidence come last. The newest event stays.
  absl::StatusOr<bool> Retain(Instant now);
  // Interval between checks for events beyond the retention age.
  static constexpr absl::Duration kExpiry = absl::Minutes(10);

 private:
  explicit Journal(const JournalOptions& options) : options_(options) {}

  // Opens the connection.
  void Connect();
  // Returns the status of `error`. Damage that SQLite reports closes the connection, because a
  // failed read may have left wrong pages in it; the next transaction opens another.
  absl::Status Failure(const SQLite::Exception& error);
  // `journal_id` is used for a new journal; empty: a random id.
  absl::Status Load(const std::string& journal_id, Opened* opened);
  // Runs `change`, a `void(JournalBounds*)`, in a transaction: all of it or nothing.
  template <typename Change>
  absl::Status Transact(const Change& change);
  void Insert(const Batch& batch, JournalBounds* bounds);
  JournalBounds FindBounds();
  void FindOldest(JournalBounds* bounds);
  // Returns whether the wall clock advanced like the monotonic one since the check before the last,
  // some ten minutes ago: if the clock was set, it shows no ages.
  bool ClockIsSteady(Instant now);
  // Counts some of the events that are not counted yet. Returns whether more are left.
  bool CountEvents(const JournalBounds& bounds);
  // Deletes the events that `find` inserts into the table `going`. Returns whether there were any.
  bool Delete(SqliteQuery find, JournalBounds* bounds);
  // Returns the id of the row of `vms` for the VM with that encoding; adds the row if there is
  // none.
  uint64_t FindVm(const v1::VmRef& vm, absl::string_view ref);

  const JournalOptions options_;
  std::optional<SqliteDatabase> database_;  // unset: not connected
  std::string journal_id_;
  std::string file_;  // FileIdentity() of the database
  bool identity_is_stored_ = true;
  JournalBounds bounds_;
  std::optional<Instant> looked_;
  bool steady_ = false;  // see ClockIsSteady
  bool failed_ = false;  // the last transaction failed
};

struct Journal::Opened {
  std::unique_ptr<Journal> journal;
  // At the start of the log: why there is no journal (`problem`); its id and the last sequence that
  // may have been assigned (`after`).
  absl::Status problem;
  SequenceMark after{};
  std::string file;           // FileIdentity() of the database; empty: there is none
  SavedRuns runs;             // runs that were open
  std::vector<v1::Vm> stops;  // the VMs that stopped last, oldest first
  // Why it is not the journal of the previous daemon, as a sentence for a GAP; empty: it is.
  std::string replaced;
  bool created = false;  // just now: no sequence was assigned under its id
  Hole hole;
};

// Reads the journal's events while its writer writes, on its own connection. A call sees what was
// committed when it began. An event whose row is garbled is replaced by a GAP. DATA_LOSS: the
// journal is damaged, as CheckDatabase() confirms. UNAVAILABLE, with the reason
// JOURNAL_UNAVAILABLE: it cannot be read now. One thread at a time.
class JournalReader {
 public:
  // Call it when the journal is open. UNAVAILABLE: the file cannot be opened now.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  using Take = absl::FunctionRef<bool(const EventRecord&)>;
  // Adds the events of [first, last] that pass to `page`, until it is full or its time is over, and
  // returns the sequence up to which it looked. Deleted events are replaced by a GAP at the first
  // of them. OUT_OF_RANGE: retention has deleted everything up to `first`.
  absl::StatusOr<uint64_t> Read(uint64_t first, uint64_t last, Take passes, EventPage* page);
  // Returns the sequence at which the events since `time` (InfinitePast: all) begin, perhaps with a
  // GAP. OUT_OF_RANGE: `time` is before every retained event, and events that may be newer than it
  // were deleted.
  absl::StatusOr<uint64_t> Locate(absl::Time time);

  // Calls `take` with the events of [first, last], in either order, until it returns false. May
  // skip events that `matcher` excludes by their VM's name. Calls `has_time` between groups of
  // sequences, and ends if that returns false. Returns the sequence that comes next; 0: there is
  // none.
  absl::StatusOr<uint64_t> Select(const EventMatcher& matcher, uint64_t first, uint64_t last,
                                  bool newest_first, Take take, absl::FunctionRef<bool()> has_time);

  // Finds the first and the last sequence between which all events of [start, end) are; the first
  // is larger than the last if there are none. OUT_OF_RANGE: the event `from` (unless 0) was
  // deleted.
  absl::StatusOr<std::pair<uint64_t, uint64_t>> Within(absl::Time start, absl::Time end,
                                                       uint64_t from);

 private:
  explicit JournalReader(const std::string& path) : path_(path) { database_.emplace(path); }

  // The connection, for a call that begins.
  SqliteDatabase& Connect();
  // The status of `error`. After damage that SQLite reports the next call opens another connection.
  // Checks the file, and logs a warning, once in kCheckPause while the failure is the same.
  absl::Status Failure(const SQLite::Exception& error);
  static constexpr absl::Duration kCheckPause = absl::Seconds(10);
  // The first sequence that was observed at `time` or later; 0: there is none.
  uint64_t FirstSince(absl::Time time);
  // The GAP `sequence`, which names `missing`.
  EventPtr RetentionGap(uint64_t sequence, const Hole& missing);

  const std::string path_;
  std::optional<SqliteDatabase> database_;  // unset: not connected
  bool stale_ = false;                      // a read failed on this connection
  absl::Status damage_;                     // once it was confirmed
  // The last failure: SQLite's message, what it was found to be, and when.
  std::string failure_;
  absl::Status judged_;
  absl::Time judged_at_ = absl::InfinitePast();
};

// The types of kEndTypes in SQL. The index stored_ends covers these; SQLite uses it only for a
// statement with exactly this text.
#define VMEVENTD_ENDS "type IN (2, 3, 20)"

// Begin of a statement that reads events: from a table, or from all events.
#define VMEVENTD_SELECT_FROM \
  "SELECT sequence, time, type, class, event, ref, ifnull(since, time) FROM "
#define VMEVENTD_SELECT_EVENTS VMEVENTD_SELECT_FROM "events WHERE "
// Returns the event of such a row. Its views are valid until the next step.
EventRecord RecordOfRow(const SqliteQuery& row);
// Events are indexed by groups of 2^13 sequences, and in each by the VM: so events that are written
// together are stored together, and the events of a VM are still found fast.
inline constexpr int kGroupBits = 13;

// OUT_OF_RANGE: `what` is no longer retained, and the oldest retained sequence is `oldest`.
absl::Status RetentionPassed(absl::string_view what, uint64_t oldest);

std::optional<std::string> QueryMeta(SqliteDatabase& database, const char* key);
uint64_t QueryMetaNumber(SqliteDatabase& database, const char* key);

}  // namespace vmeventd
