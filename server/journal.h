#ifndef VMEVENTD_SERVER_JOURNAL_H_
#define VMEVENTD_SERVER_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/sqlite.h"

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
  };

  // Opens the database, or makes it. A corrupt one is moved aside under a dated name, and a new one
  // made; so is one that holds less than `newest_durable` says it must. FAILED_PRECONDITION: it was
  // written by a newer version, or is somebody else's. Else see SqliteDatabase.
  // `newest_durable` takes the journal's id and gives the newest sequence known to be committed.
  static absl::StatusOr<Opened> Open(
      const JournalOptions& options, absl::Time now,
      const std::function<uint64_t(const std::string&)>& newest_durable = [](const std::string&) {
        return uint64_t{0};
      });
  // Moves what is there aside, whatever it is, and makes a new one.
  static absl::StatusOr<Opened> OpenNew(const JournalOptions& options, std::string because,
                                        absl::Time now);

  // For a new journal: its events begin after the sequence `newest`.
  void BeginAfter(uint64_t newest) {
    newest_ = newest;
    oldest_ = newest + 1;
  }

  // Which journal this is: sequences mean something only together with it.
  const std::string& journal_id() const { return journal_id_; }
  // The key that page tokens are signed with: they outlive a restart.
  const std::string& token_key() const { return token_key_; }
  // The newest sequence ever written, 0 if none was. It stays while retention deletes.
  uint64_t newest() const { return newest_; }
  // The oldest that is kept; newest() + 1 if none is.
  uint64_t oldest() const { return oldest_; }
  // When that one was observed; InfiniteFuture if none is.
  absl::Time oldest_time() const {
    return newest_ < oldest_ ? absl::InfiniteFuture() : oldest_time_;
  }
  // The newest observe_time that retention has deleted; InfinitePast if it deleted none.
  absl::Time deleted_until() const { return deleted_until_; }

  // Durable when it returns OK. Otherwise nothing of the batch is written and the same batch may be
  // tried again. Deletes about as much as it writes of what is too old or too many.
  absl::Status Append(const Batch& batch, absl::Time now);

  // Deletes some of what is too old or too many, never the newest event; a few milliseconds of
  // work. True: there is more to delete.
  absl::StatusOr<bool> RetainStep(absl::Time now);

 private:
  Journal(JournalOptions options, SqliteDatabase database)
      : options_(std::move(options)), database_(std::move(database)) {}

  static absl::StatusOr<std::unique_ptr<Journal>> TryOpen(const JournalOptions& options);
  static absl::StatusOr<Opened> TryLoad(
      const JournalOptions& options,
      const std::function<uint64_t(const std::string&)>& newest_durable);
  absl::StatusOr<std::vector<JournalStop>> LoadStops();
  // FAILED_PRECONDITION: the database is another program's, or a newer version's.
  absl::Status CheckOurs();
  absl::Status CreateIfNew();
  absl::Status LoadMeta();
  absl::Status PrepareStatements();
  // What one transaction changes here, once it is committed.
  struct Bounds {
    uint64_t newest;
    uint64_t oldest;
    absl::Time oldest_time;
    absl::Time latest_time;
    absl::Time deleted_until;
    int64_t stops;
  };
  // Runs `change` in a transaction: all of it or nothing.
  absl::Status Transact(const std::function<absl::Status(Bounds*)>& change);
  absl::Status Insert(const Batch& batch, Bounds* bounds);
  // Deletes at most `max_rows` events.
  absl::Status DeleteOld(absl::Time now, int64_t max_rows, Bounds* bounds);

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
  std::string journal_id_;
  std::string token_key_;
  uint64_t newest_ = 0;
  uint64_t oldest_ = 1;
  absl::Time oldest_time_;                         // of the event oldest_, where there is one
  absl::Time latest_time_ = absl::InfinitePast();  // of all events up to newest_
  absl::Time deleted_until_ = absl::InfinitePast();
  int64_t stops_ = 0;  // rows
};

// What protects a row against a flipped bit: SQLite checks its structure, not its content. CRC-32
// of the row's other columns, docs/journal.md.
uint32_t Checksum(const JournalEvent& event);
uint32_t Checksum(const JournalSession& session);
uint32_t Checksum(const JournalStop& stop);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_H_
