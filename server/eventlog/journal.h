#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/eventlog/block_row.h"
#include "server/eventlog/journal_origin.h"
#include "server/eventlog/live_state.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_block.h"

namespace vmeventd {

// The events and the open runs on disk: an SQLite database in WAL mode, synchronous=FULL, whose
// format is in docs/journal.md. This is its one writer; JournalReader reads beside it. One thread.
class Journal {
 public:
  // Changes of one transaction.
  struct Batch {
    std::vector<EventBlockPtr> blocks;  // ascending, all beyond newest()
    std::vector<SavedRun> runs;
    std::vector<JournalStop> stops;
  };

  // Opens the database, or creates it with `beginning`. DATA_LOSS: it is corrupt.
  // FAILED_PRECONDITION: it was written by a newer version, or is another program's. Other errors:
  // see SqliteDatabase. OpenJournal (open_journal.h) replaces one that is corrupt.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const JournalOptions& options,
                                                       const JournalBeginning& beginning = {});

  // Appends the runs that were open, and the VMs that stopped last, oldest first. DATA_LOSS: one of
  // them is damaged.
  absl::Status ReadSaved(std::vector<SavedRun>* runs, std::vector<JournalStop>* stops);
  std::vector<SavedRun> ReadableRuns();

  // Reason to take the files for a copy of those that were written last; empty: there is none.
  absl::StatusOr<std::string> WhyCopied() { return vmeventd::WhyCopied(&database_, options_.path); }
  // Its JournalBeginning, until it has its first event.
  absl::StatusOr<std::string> WhatItReplaces();
  // Records which files these are, and with `new_identity` gives the journal a new id.
  absl::Status RecordOrigin(bool new_identity);
  // DATA_LOSS: the files that are open are no longer in their place.
  absl::Status CheckInPlace() const;
  // Writes the write-ahead log into the database, wherever that is now.
  absl::Status MergeLog() { return database_.Execute("PRAGMA wal_checkpoint(TRUNCATE)"); }

  // Gives back the memory of what was read and written, up to 2 MiB of pages: they are read again
  // where they are needed.
  void ReleaseMemory() {
    row_ = {};
    database_.Execute("PRAGMA shrink_memory").IgnoreError();
  }

  // Records that events up to `time` are not here: they were in a journal that is gone.
  absl::Status SetDeletedUntil(absl::Time time);

  // Identity of this journal: sequences mean something only together with it.
  const std::string& journal_id() const { return journal_id_; }
  // The key that page tokens are signed with: they outlive a restart.
  const std::string& token_key() const { return token_key_; }
  // The newest sequence ever written, or after which it begins. It stays while retention deletes.
  uint64_t newest() const { return bounds_.newest; }
  // The oldest that is kept; newest() + 1 if none is.
  uint64_t oldest() const { return bounds_.oldest; }
  // See EventRange.
  uint64_t unbroken_from() const { return bounds_.unbroken_from; }
  Retained retained() const { return {bounds_.oldest, bounds_.unbroken_from}; }
  // Observation time of that event; InfiniteFuture if none is kept.
  absl::Time oldest_time() const {
    return bounds_.newest < bounds_.oldest ? absl::InfiniteFuture() : bounds_.oldest_time;
  }
  // The latest observe_time up to the newest event; InfinitePast if there is none.
  absl::Time latest_time() const { return bounds_.latest_time; }
  // The newest observe_time that retention has deleted, or that a journal before this one may hold;
  // InfinitePast if there is none.
  absl::Time deleted_until() const { return bounds_.deleted_until; }

  // Writes the batch durably. After an error nothing of it counts as written, and the same batch
  // may be retried. DATA_LOSS: the journal is corrupt, or its files are no longer in their place.
  // Leaves what is too old or too many to RetainStep; only if more than slack() events are beyond
  // the limit does it delete about twice as much as it writes. If that fails it still writes, and
  // deletes nothing more until RetainStep succeeds.
  absl::Status Append(const Batch& batch, absl::Time now);

  // Deletes some of what is too old or too many, and joins small rows of the newest events; a few
  // milliseconds of work. True: there is more to do.
  absl::StatusOr<bool> RetainStep(absl::Time now);
  bool has_small_rows() const { return bounds_.unmerged_bytes >= options_.row_bytes; }
  // Numbers of events beyond the limit, and of those of them that Append leaves to RetainStep.
  int64_t excess() const { return Excess(bounds_); }
  int64_t slack() const { return options_.retention_events / 100; }
  // Reason why nothing is deleted at present; OK: that works.
  const absl::Status& retention_problem() const { return retention_problem_; }

 private:
  Journal(JournalOptions options, SqliteDatabase database)
      : options_(std::move(options)), database_(std::move(database)) {}

  absl::Status LoadIdentity();
  // Runs `change` in a transaction: all of it or nothing.
  absl::Status Transact(const std::function<absl::Status(JournalBounds*)>& change);
  absl::Status Insert(const Batch& batch, JournalBounds* bounds);
  // Writes the hole before a block, if there is one.
  absl::Status ExtendTo(const EventBlock& block, JournalBounds* bounds);
  // Writes the row of `row_`, if it has events.
  absl::Status InsertRow(JournalBounds* bounds);
  // Makes one row of the first small ones, if they fill it or what follows does not fit.
  absl::Status MergeRows(JournalBounds* bounds);

  // Retention (retention.cc), within a transaction: a block goes when all of its events are
  // deleted; until then `retained_from` says which are left. An event whose time is in the future
  // was given it by a clock that was ahead: it is as old as the first event behind it that is not.
  // The newest event stays.

  // Events beyond the limit of their number.
  int64_t Excess(const JournalBounds& bounds) const;
  // Deletes at most `max_rows` events, and moves `bounds` on.
  absl::Status DeleteOld(absl::Time now, int64_t max_rows, JournalBounds* bounds);
  // Returns the sequence and the time of the first event behind `sequence` that was not observed
  // after `now`; nullopt: there is none.
  absl::StatusOr<std::optional<std::pair<uint64_t, int64_t>>> NextInPast(uint64_t sequence,
                                                                         int64_t now);
  // Deletes the holes before `oldest`, but for the one that ends there: the GAP at `oldest` names
  // it.
  absl::Status DeleteHolesBefore(uint64_t oldest, JournalBounds* bounds);

  const JournalOptions options_;
  SqliteDatabase database_;
  absl::Status retention_problem_;
  FileKey file_;  // identities of the database and its log when opened
  FileKey log_;
  std::string journal_id_;
  std::string token_key_;
  JournalBounds bounds_;
  BlockRowBuilder row_;  // keeps its memory
};

}  // namespace vmeventd
