#ifndef VMEVENTD_SERVER_JOURNAL_JOURNAL_H_
#define VMEVENTD_SERVER_JOURNAL_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/events/live_state.h"
#include "server/journal/journal_origin.h"
#include "server/journal/sqlite.h"

namespace vmeventd {

struct JournalOptions {
  std::string path;  // of the database; its directory exists
  absl::Duration retention_age = absl::Hours(24 * 30);
  int64_t retention_events = 1'000'000;
};

// One event as it is kept. The views live for the call.
struct JournalEvent {
  uint64_t sequence = 0;
  absl::Time observe_time;
  absl::string_view vm_name;
  absl::string_view run_id;
  int type = 0;
  int shutdown_class = 0;
  absl::string_view payload;  // the bytes of one `events` field of WatchEventsResponse
};

// One open run as it is kept; an empty payload says that it is over.
struct JournalSession {
  std::string run_id;
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};

// A VM that has stopped, for the answers about VMs after a restart.
struct JournalStop {
  uint64_t sequence = 0;  // of its STOPPED
  std::string vm;         // one `snapshot_vms` field of WatchEventsResponse
};

// The events and the open runs on disk: an SQLite database in WAL mode, synchronous=FULL, whose
// format is in docs/journal.md. This is its one writer; JournalReader reads beside it. One thread.
class Journal {
 public:
  // What is written at once, or not at all.
  struct Batch {
    std::vector<JournalEvent> events;  // ascending, all beyond newest()
    std::vector<JournalSession> sessions;
    std::vector<JournalStop> stops;
  };
  struct Opened {
    std::unique_ptr<Journal> journal;
    // A corrupt database was moved here, and why; empty: none was.
    std::string moved_to;
    std::string moved_because;
    // The open runs: of the database, or what could still be read of the one that was moved.
    std::vector<JournalSession> sessions;
    // The VMs that stopped last, oldest first; none of one that was moved.
    std::vector<JournalStop> stops;
    // Why its files are a copy of those that were written last; empty: they are not. Events may be
    // missing behind the newest, whose sequences a client has seen: so it has a new journal_id.
    std::string restored_because;
  };

  // Opens the database, or makes it. A corrupt one is moved aside under a dated name, and a new one
  // made; so is one that holds less than `newest_durable` says it must. FAILED_PRECONDITION: it was
  // written by a newer version, or is somebody else's. One that is a copy keeps its events and gets
  // a new journal_id (journal_origin.h). Else see SqliteDatabase. `newest_durable` takes the
  // journal's id and gives the newest sequence known to be committed.
  static absl::StatusOr<Opened> Open(
      const JournalOptions& options, absl::Time now,
      const std::function<uint64_t(const std::string&)>& newest_durable = [](const std::string&) {
        return uint64_t{0};
      });
  // Moves what is there aside, whatever it is, and makes a new one, whose events begin after the
  // sequence `begins_after` and at the time `now`. `before`: the one that was in use, which stays
  // open; may be null.
  static absl::StatusOr<Opened> OpenNew(const JournalOptions& options, std::string because,
                                        absl::Time now, uint64_t begins_after = 0,
                                        Journal* before = nullptr);

  // Takes down that events up to `time` are not here: they were in a journal that is gone.
  absl::Status SetDeletedUntil(absl::Time time);

  // Which journal this is: sequences mean something only together with it.
  const std::string& journal_id() const { return journal_id_; }
  // The key that page tokens are signed with: they outlive a restart.
  const std::string& token_key() const { return token_key_; }
  // The newest sequence ever written, or after which it begins. It stays while retention deletes.
  uint64_t newest() const { return newest_; }
  // The oldest that is kept; newest() + 1 if none is.
  uint64_t oldest() const { return oldest_; }
  // From here on nothing is missing but what a GAP names: oldest(), or the first of the sequences
  // that were given up just before it.
  uint64_t unbroken_from() const { return unbroken_from_; }
  Retained retained() const { return {oldest_, unbroken_from_}; }
  // When that one was observed; InfiniteFuture if none is.
  absl::Time oldest_time() const {
    return newest_ < oldest_ ? absl::InfiniteFuture() : oldest_time_;
  }
  // The latest observe_time up to the newest event; InfinitePast if there is none.
  absl::Time latest_time() const { return latest_time_; }
  // The newest observe_time that retention has deleted, or that a journal before this one may hold;
  // InfinitePast if there is none.
  absl::Time deleted_until() const { return deleted_until_; }

  // Durable when it returns OK. Otherwise nothing of the batch counts as written and the same batch
  // may be tried again. DATA_LOSS: the journal is corrupt, or its files are no longer in their
  // place. Deletes about as much as it writes of what is too old or too many.
  absl::Status Append(const Batch& batch, absl::Time now);

  // Deletes some of what is too old or too many, never the newest event; a few milliseconds of
  // work. True: there is more to delete. An event whose time is after `now` was given it by a clock
  // that was ahead: it is as old as the first event behind it that is not.
  absl::StatusOr<bool> RetainStep(absl::Time now);

 private:
  Journal(JournalOptions options, SqliteDatabase database)
      : options_(std::move(options)), database_(std::move(database)) {}

  // What a new journal begins with.
  struct Beginning {
    uint64_t after = 0;
    absl::Time deleted_until = absl::InfinitePast();
  };
  static absl::StatusOr<std::unique_ptr<Journal>> TryOpen(const JournalOptions& options,
                                                          const Beginning& beginning);
  static absl::StatusOr<Opened> TryLoad(
      const JournalOptions& options,
      const std::function<uint64_t(const std::string&)>& newest_durable);
  absl::StatusOr<std::vector<JournalStop>> LoadStops();
  // FAILED_PRECONDITION: the database is another program's, or a newer version's.
  absl::Status CheckOurs();
  absl::Status CreateIfNew(const Beginning& beginning);
  // Why the files are a copy; empty: they are not.
  absl::StatusOr<std::string> WhyCopied();
  // Takes down which files these are, and with `new_identity` gives the journal a new id.
  absl::Status TakeDownOrigin(bool new_identity);
  absl::Status AddIndexes();
  // DATA_LOSS: the files that are open are no longer in their place.
  absl::Status CheckInPlace() const;
  absl::Status LoadMeta();
  absl::Status PrepareStatements();
  // What one transaction changes here, once it is committed.
  struct Bounds {
    uint64_t newest;
    uint64_t oldest;
    uint64_t unbroken_from;
    absl::Time oldest_time;
    absl::Time latest_time;
    absl::Time deleted_until;
    int64_t missing;
    int64_t stops;
  };
  // Runs `change` in a transaction: all of it or nothing.
  absl::Status Transact(const std::function<absl::Status(Bounds*)>& change);
  absl::Status Insert(const Batch& batch, Bounds* bounds);
  // When the first event behind `sequence` whose time is not after `now` was observed, and which it
  // is; nothing: there is none.
  absl::StatusOr<std::optional<std::pair<int64_t, int64_t>>> NextInPast(int64_t sequence,
                                                                        int64_t now);
  // Deletes at most `max_rows` events.
  absl::Status DeleteOld(absl::Time now, int64_t max_rows, Bounds* bounds);
  // Deletes the holes before `oldest`, but for the one that ends there: the GAP at `oldest` names
  // it.
  absl::Status DeleteHolesBefore(uint64_t oldest, Bounds* bounds);
  // The first sequence of the hole that ends before `sequence`; `sequence` if none does.
  absl::StatusOr<uint64_t> BeginOfHoleBefore(uint64_t sequence);

  const JournalOptions options_;
  SqliteDatabase database_;
  std::unique_ptr<SqliteStatement> insert_event_;
  std::unique_ptr<SqliteStatement> put_session_;
  std::unique_ptr<SqliteStatement> delete_session_;
  std::unique_ptr<SqliteStatement> insert_stop_;
  std::unique_ptr<SqliteStatement> delete_stop_;
  std::unique_ptr<SqliteStatement> times_from_;
  std::unique_ptr<SqliteStatement> put_deleted_until_;
  std::unique_ptr<SqliteStatement> delete_events_;
  std::unique_ptr<SqliteStatement> insert_hole_;
  std::unique_ptr<SqliteStatement> missing_between_;
  std::unique_ptr<SqliteStatement> hole_before_;
  std::unique_ptr<SqliteStatement> delete_holes_;
  std::unique_ptr<SqliteStatement> next_in_past_;
  FileKey file_;  // of the database and of its log, when they were opened
  FileKey log_;
  std::string journal_id_;
  std::string token_key_;
  uint64_t newest_ = 0;
  uint64_t oldest_ = 1;
  uint64_t unbroken_from_ = 1;
  absl::Time oldest_time_;                         // of the event oldest_, where there is one
  absl::Time latest_time_ = absl::InfinitePast();  // of all events up to newest_
  absl::Time deleted_until_ = absl::InfinitePast();
  int64_t missing_ = 0;  // sequences from oldest_ to newest_ without an event
  int64_t stops_ = 0;    // rows
};

// What protects a row against a flipped bit: SQLite checks its structure, not its content. CRC-32
// of the row's other columns, docs/journal.md.
uint32_t Checksum(const JournalEvent& event);
uint32_t Checksum(const JournalSession& session);
uint32_t Checksum(const JournalStop& stop);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_JOURNAL_H_
