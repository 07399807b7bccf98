#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_codec.h"

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

// Sequences that are in no journal and that no GAP names. Some of them may never have had an event.
struct Hole {
  uint64_t first = 0;
  uint64_t last = 0;

  bool empty() const { return last == 0; }
};

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

}  // namespace vmeventd
