#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/eventlog/block_row.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/sqlite.h"

// The journal's tables as docs/journal.md describes them: version, rows and bounds.

namespace vmeventd {

// A VM that has stopped, for the answers about VMs after a restart.
struct JournalStop {
  uint64_t sequence = 0;  // sequence of its STOPPED
  std::string vm;         // one `snapshot_vms` field of WatchEventsResponse
};

// Protects a row, as BlockChecksum does, against a flipped bit: SQLite checks its structure, not
// its content. CRC-32 of the row's other columns, docs/journal.md.
class RowChecksum {
 public:
  RowChecksum& Add(uint64_t number);
  RowChecksum& Add(absl::string_view text);
  uint32_t value() const { return crc_; }

 private:
  uint32_t crc_ = 0;
};
uint32_t Checksum(const SavedRun& saved);
uint32_t Checksum(const JournalStop& stop);

// Writes a row of `sessions`, in place if there is one.
absl::Status PutRun(SqliteDatabase* database, const SavedRun& saved);
// Appends the open runs, up to the first that cannot be read. DATA_LOSS: a checksum
// is wrong.
absl::Status ReadRuns(SqliteDatabase* database, std::vector<SavedRun>* runs);
// Appends the VMs that stopped last, oldest first. DATA_LOSS: a checksum is wrong.
absl::Status ReadStops(SqliteDatabase* database, std::vector<JournalStop>* stops);

absl::Status PutBlock(SqliteDatabase* database, const StoredBlock::Columns& columns);

class BlockQuery : public SqliteQuery {
 public:
  // Selects the rows that end at `sequence` or later, in order.
  BlockQuery(SqliteDatabase* database, uint64_t sequence);
  // Selects the rows that match `sql`, which follows "SELECT ... FROM blocks".
  BlockQuery(SqliteDatabase* database, absl::string_view sql);

  // Returns the next row, which lives until the next call. Null: there are no more, or status() is
  // an error. DATA_LOSS: a row is damaged.
  const StoredBlock* NextBlock();

 private:
  std::optional<StoredBlock> block_;
};

// Sequence of the oldest event: retention has deleted what is before it in its block; 0 if there is
// none.
absl::StatusOr<uint64_t> OldestOf(SqliteDatabase* database);

// Bounds of a journal, as one transaction changes them.
struct JournalBounds {
  uint64_t newest = 0;  // newest sequence ever written, or after which the journal begins
  uint64_t oldest = 1;  // oldest sequence that is kept; newest + 1 if none is
  // `oldest`, or the first of the sequences that were given up just before it.
  uint64_t unbroken_from = 1;
  absl::Time oldest_time;                         // time of the event `oldest`, if there is one
  absl::Time latest_time = absl::InfinitePast();  // latest time up to `newest`
  absl::Time deleted_until = absl::InfinitePast();
  int64_t missing = 0;  // sequences from `oldest` to `newest` without an event
  int64_t stops = 0;    // rows
  // End of the blocks that are not joined any further; then the encodings' bytes of the later
  // blocks.
  uint64_t merged_to = 0;
  size_t unmerged_bytes = 0;
};

// Reads the bounds. DATA_LOSS: no journal writes such bounds; `path` is for the error.
absl::StatusOr<JournalBounds> ReadBounds(SqliteDatabase* database, const JournalOptions& options);

// The first sequence of the hole that ends before `sequence`; `sequence` if none does.
absl::StatusOr<uint64_t> BeginOfHoleBefore(SqliteDatabase* database, uint64_t sequence);

// Contents of a new journal.
struct JournalBeginning {
  uint64_t after = 0;  // its first event's sequence is greater
  absl::Time deleted_until = absl::InfinitePast();
  std::vector<SavedRun> runs;
  std::string replaces;  // path of the journal that it replaced, a line feed, and why; or empty
};

// Version of the schema, and an earlier one (ConvertJournal).
inline constexpr int64_t kSchemaVersion = 2;
inline constexpr int64_t kRowAnEventVersion = 1;

// Returns whether the database has no tables yet: a new journal gets them a moment after its file.
absl::StatusOr<bool> IsEmpty(SqliteDatabase* database);
// FAILED_PRECONDITION: the database at `path` is another program's, or a newer version's.
// DATA_LOSS: its header says what no vmeventd has written. UNIMPLEMENTED: an earlier version's, to
// be converted. An empty database is fine.
absl::Status CheckSchema(SqliteDatabase* database, const std::string& path);
// Creates the tables of an empty database, without rows. Within a transaction.
absl::Status CreateTables(SqliteDatabase* database);
// Creates them and their first rows if the database is empty.
absl::Status CreateSchemaIfNew(SqliteDatabase* database, const JournalBeginning& beginning);

// A value of the table `meta`.
absl::StatusOr<std::optional<std::string>> QueryMeta(SqliteDatabase* database,
                                                     absl::string_view key);
absl::Status PutMeta(SqliteDatabase* database, absl::string_view key, absl::string_view value);

// Converts the journal at `path` from schema version 1, which had a row an event: it remains the
// same journal, with the same events, runs and stops. It is written as PATH.new beside the old one
// and takes its place in one step, so a kill or a loss of power leaves either. The memory it takes
// does not grow with the journal. DATA_LOSS: the old one is damaged. UNAVAILABLE: it cannot be read
// or written now, or another program uses it; nothing has changed.
absl::Status ConvertJournal(const std::string& path);

}  // namespace vmeventd
