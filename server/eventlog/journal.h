#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/hole.h"
#include "server/eventlog/journal_batch.h"
#include "server/eventlog/journal_bounds.h"
#include "server/eventlog/saved_runs.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/sqlite.h"

namespace vmeventd {

struct JournalOptions {
  std::string path;  // database file; its directory exists
  absl::Duration retention_age = absl::Hours(24 * 30);
  int64_t retention_events = 1'000'000;
};

// The events and the open runs on disk: an SQLite database in WAL mode, synchronous=FULL, whose
// tables docs/internals/journal.md describes. This is the only writer; a JournalReader reads at the
// same time. One thread. Every call may block while the disk hangs.
class Journal {
 public:
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
  absl::Status Append(const JournalBatch& batch);

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
  void Insert(const JournalBatch& batch, JournalBounds* bounds);
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
  absl::Status problem;       // at the start of the log: why there is no journal
  std::string file;           // FileIdentity() of the database; empty: there is none
  SavedRuns runs;             // runs that were open
  std::vector<v1::Vm> stops;  // the VMs that stopped last, oldest first
  // The reason, as a sentence for a GAP, why it is not the journal of the previous daemon; empty:
  // it is.
  std::string replaced;
  bool created = false;  // just now: no sequence was assigned under its id
  Hole hole;
};

}  // namespace vmeventd
