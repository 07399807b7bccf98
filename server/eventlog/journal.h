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

// The saved state of an open run; empty: it is over.
struct SavedRun {
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};
using SavedRuns = std::map<std::string, SavedRun>;  // by run_id

// Bounds of the journal's rows.
struct JournalBounds {
  uint64_t oldest = 1;  // the first event; newest + 1 without one
  uint64_t newest = 0;  // the last event, or what the journal begins after
  // Every event up to `deleted` was deleted, and some up to `thinned`.
  uint64_t deleted = 0;
  uint64_t thinned = 0;
  int64_t events = 0;
  absl::Time oldest_time = absl::InfiniteFuture();
};

// Sequences of a journal that may be in use, in the file `sequence` beside the database: reserved
// in ranges, so that it is synced once for many events. After a stop in order, the newest event.
struct SequenceMark {
  std::string journal_id;  // empty: there is no mark
  uint64_t through = 0;
};
// Empty if there is none. An error: it cannot be read now.
absl::StatusOr<SequenceMark> ReadMark(const std::string& journal_path);
absl::Status WriteMark(const std::string& journal_path, const SequenceMark& mark);
// How far the daemon has watched, in the file `alive` beside the database: everything that happened
// to VMs until then is in the journal. Not synced: a loss of power may leave an earlier one.
// InfinitePast: it is not known.
absl::Time ReadAlive(const std::string& journal_path);
absl::Status WriteAlive(const std::string& journal_path, absl::Time until);
// Number of sequences to reserve: more than there are events while a disk hangs.
inline constexpr uint64_t kReservedSequences = 1'000'000'000;

// Sequences that are in no journal and that no GAP names; some may belong to no event.
struct Hole {
  uint64_t first = 0;
  uint64_t last = 0;

  bool empty() const { return last == 0; }
};

// Types of the events that are dropped and deleted last.
inline constexpr v1::EventType kEvidence[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_STOPPED,
                                              v1::EVENT_TYPE_INTENT_DECLARED,
                                              v1::EVENT_TYPE_INTENT_WITHDRAWN, v1::EVENT_TYPE_GAP};
bool IsEvidence(v1::EventType type);
// For people: "STARTED, STOPPED, INTENT_DECLARED, INTENT_WITHDRAWN and GAP".
std::string EvidenceNames();

// The identity of a file, "INODE BIRTH" with the birth in nanoseconds, which a copy does not have.
// The birth is 0 where the file system does not store it.
std::string FileIdentity(const std::string& path);

// The events and the open runs on disk: an SQLite database in WAL mode, synchronous=FULL, whose
// tables docs/internals/journal.md describes. Its one writer; a JournalReader reads at the same
// time. One thread. Every call may last as long as the disk hangs.
class Journal {
 public:
  // Changes of one transaction.
  struct Batch {
    std::vector<EventPtr> events;  // in order, all beyond newest
    SavedRuns runs;
    std::map<uint64_t, std::shared_ptr<const v1::Vm>> stops;  // by last_sequence
    Hole hole{};
    bool hole_is_named = false;  // by a GAP of these events; if not, the next start must name it

    size_t bytes = 0;  // approximate memory of the events and the runs

    bool empty() const { return events.empty() && runs.empty() && stops.empty(); }
    void Put(EventPtr event) {
      bytes += event->memory();
      events.push_back(std::move(event));
    }
    void Put(const std::string& run_id, SavedRun run);
    // Adds what comes after it.
    void Add(const Batch& next);
  };
  struct Opened;

  // Opens the database, or creates it. A damaged one, and one of another version, is moved aside
  // first. Damage that SQLite reports counts once CheckDatabase() confirms it.
  // FAILED_PRECONDITION: it is another program's. UNAVAILABLE: it cannot be opened now.
  static absl::StatusOr<Opened> Open(const JournalOptions& options, absl::Time now);
  // Opens or creates it for a daemon that has begun without it, after `begin`. Moves nothing aside.
  // DATA_LOSS: it is damaged, or has later events.
  static absl::StatusOr<Opened> OpenLate(const JournalOptions& options, const SequenceMark& begin);
  // The next Open replaces the journal, whose damage was found in use. Any thread.
  static void ReportDamage(const std::string& path, absl::string_view why);

  const std::string& journal_id() const { return journal_id_; }
  // Makes another journal of it, with the same events. Stored with the next batch.
  void Rename(const std::string& journal_id) {
    if (journal_id != journal_id_) identity_is_stored_ = false;
    journal_id_ = journal_id;
  }
  const JournalBounds& bounds() const { return bounds_; }

  // Writes the batch durably. After an error it may be retried. DATA_LOSS: the journal is damaged,
  // as CheckDatabase() confirms, or its file is not at its path any more.
  absl::Status Append(const Batch& batch);

  // Returns whether there are more events than the limit and a hundredth. After a failure not
  // before the next success: a disk that is full can delete as little as it can write.
  bool RetentionIsDue() const;
  // Deletes at most a thousand events, once all are counted, and returns whether more is to do.
  // Beyond the age the oldest go, if nobody set the clock lately. Beyond the number, those of the
  // VMs with the most events, oldest first, but for kEvidence, which goes last. The newest event
  // stays.
  absl::StatusOr<bool> Retain(Instant now);
  // Interval of looks for events beyond the age.
  static constexpr absl::Duration kExpiry = absl::Minutes(10);

 private:
  explicit Journal(const JournalOptions& options) : options_(options) {}

  // Opens the connection.
  void Connect();
  // Returns the status of `error`. Damage that SQLite reports closes the connection, since a read
  // that failed may have left it wrong pages; the next transaction opens another.
  absl::Status Failure(const SQLite::Exception& error);
  // `journal_id` is the one of a new journal; empty: a random one.
  absl::Status Load(const std::string& journal_id, Opened* opened);
  // Runs `change`, a `void(JournalBounds*)`, in a transaction: all of it or nothing.
  template <typename Change>
  absl::Status Transact(const Change& change);
  void Insert(const Batch& batch, JournalBounds* bounds);
  JournalBounds FindBounds();
  void FindOldest(JournalBounds* bounds);
  // Returns whether the wall clock went on as the monotonic one since the look before the last,
  // some ten minutes ago: a clock that was set shows no age.
  bool ClockIsSteady(Instant now);
  // Counts some of the events that are not counted yet. Returns whether there are more of them.
  bool CountEvents(const JournalBounds& bounds);
  // Deletes the events that `find` inserts into the table `going`. Returns whether there were any.
  bool Delete(SqliteQuery find, JournalBounds* bounds);
  // The row of `vms` for the VM with that encoding, which it adds if there is none.
  uint64_t FindVm(const v1::VmRef& vm, absl::string_view ref);

  const JournalOptions options_;
  std::optional<SqliteDatabase> database_;  // unset: not connected
  std::string journal_id_;
  std::string file_;  // FileIdentity() of the database
  bool identity_is_stored_ = true;
  JournalBounds bounds_;
  std::optional<Instant> looked_;
  bool steady_ = false;  // see ClockIsSteady
  bool failed_ = false;  // the last transaction
};

struct Journal::Opened {
  std::unique_ptr<Journal> journal;
  // At the start of the log: why there is no journal, its id, and the last sequence that may have
  // been given.
  absl::Status problem;
  SequenceMark after{};
  std::string file;           // FileIdentity() of the database; empty: there is none
  SavedRuns runs;             // that were open
  std::vector<v1::Vm> stops;  // the VMs that stopped last, oldest first
  // Why it is not the journal of the daemon before, a sentence for a GAP; empty: it is.
  std::string replaced;
  bool created = false;  // just now: no sequence was given under its id
  Hole hole;
};

// Reads the journal's events while its writer writes, on a connection of its own. Sees what was
// committed when a call begins. A GAP stands for an event whose row is garbled. DATA_LOSS: the
// journal is damaged, as CheckDatabase() confirms. UNAVAILABLE: it cannot be read now. One thread
// at a time.
class JournalReader {
 public:
  // The journal is open. UNAVAILABLE: the file cannot be opened now.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  using Take = absl::FunctionRef<bool(const EventRecord&)>;
  // Adds the events of [first, last] that pass to `page`, until it is full or has no time left, and
  // returns the sequence up to which it did. A GAP stands for those that retention has deleted,
  // where the first of them was. OUT_OF_RANGE: retention has deleted all up to the first one.
  absl::StatusOr<uint64_t> Read(uint64_t first, uint64_t last, Take passes, EventPage* page);
  // Returns the sequence at which the events since `time` begin, perhaps with a GAP; InfinitePast:
  // all. OUT_OF_RANGE: it is before every retained event, and some that may have been observed
  // since then were deleted.
  absl::StatusOr<uint64_t> Locate(absl::Time time);

  // Calls `take` with the events of [first, last] in either order, until it returns false. Of
  // events that `matcher` excludes by their VM's name some may be missing. Between groups of
  // sequences it asks `has_time`, and false ends the call. Returns the sequence that comes next; 0:
  // there is none.
  absl::StatusOr<uint64_t> Select(const EventMatcher& matcher, uint64_t first, uint64_t last,
                                  bool newest_first, Take take, absl::FunctionRef<bool()> has_time);

  // Finds the sequences among which all events of [start, end) are; the first is larger than the
  // last if there are none. OUT_OF_RANGE: the event `from`, if it is not 0, was deleted.
  absl::StatusOr<std::pair<uint64_t, uint64_t>> Within(absl::Time start, absl::Time end,
                                                       uint64_t from);

 private:
  explicit JournalReader(const std::string& path) : path_(path) { database_.emplace(path); }

  // The connection, for a call that begins.
  SqliteDatabase& Connect();
  // The status of `error`. After damage that SQLite reports the next call opens another connection.
  absl::Status Failure(const SQLite::Exception& error);
  // The first sequence that was observed at `time` or later; 0: there is none.
  uint64_t FirstSince(absl::Time time);
  // The GAP `sequence`, which names `missing`.
  EventPtr RetentionGap(uint64_t sequence, const Hole& missing);

  const std::string path_;
  std::optional<SqliteDatabase> database_;  // unset: not connected
  bool stale_ = false;                      // a read failed on this connection
  absl::Status damage_;                     // as it was confirmed
};

// The types of kEndTypes, as SQL has them. The index stored_ends has those: a statement uses it by
// this very text.
#define VMEVENTD_ENDS "type IN (2, 3, 20)"

// Begin of a statement that reads events: from a table, or from all.
#define VMEVENTD_SELECT_FROM \
  "SELECT sequence, time, type, class, event, ref, ifnull(since, time) FROM "
#define VMEVENTD_SELECT_EVENTS VMEVENTD_SELECT_FROM "events WHERE "
// The event of such a row. The views live until the next step.
EventRecord RecordOfRow(const SqliteQuery& row);
// Events are indexed by groups of 2^13 sequences, and in each by the VM: so what is written
// together lies together, and the events of a VM are still found fast.
inline constexpr int kGroupBits = 13;

// OUT_OF_RANGE: `what` is no longer retained, and the oldest retained sequence is `oldest`.
absl::Status RetentionPassed(absl::string_view what, uint64_t oldest);

std::optional<std::string> QueryMeta(SqliteDatabase& database, const char* key);
uint64_t QueryMetaNumber(SqliteDatabase& database, const char* key);

}  // namespace vmeventd
