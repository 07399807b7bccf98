#include "server/eventlog/schema.h"

#include <endian.h>
#include <libdeflate.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/random.h"

namespace vmeventd {
namespace {

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"

// Number of last blocks among which a start looks for small ones.
constexpr int64_t kMaxSmallBlocks = 10'000;

// The payloads of runs stand in a table with rowids: a row without one must not take more than
// a quarter of a page, or it takes a page of its own beside, and most runs do. What a search of
// blocks looks at stands before `data`, which fills pages of its own.
constexpr char kSchema[] = R"sql(
  CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE blocks(
    last INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    earliest_time INTEGER NOT NULL,
    latest_time INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    names BLOB NOT NULL,
    data BLOB NOT NULL);
  CREATE TABLE sessions(
    run_id TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    last_sequence INTEGER NOT NULL,
    checksum INTEGER NOT NULL);
  CREATE TABLE holes(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
  CREATE TABLE stops(
    sequence INTEGER PRIMARY KEY,
    vm BLOB NOT NULL,
    checksum INTEGER NOT NULL);
)sql";

}  // namespace

RowChecksum& RowChecksum::Add(uint64_t number) {
  const uint64_t little_endian = htole64(number);
  crc_ = libdeflate_crc32(crc_, &little_endian, sizeof(little_endian));
  return *this;
}

RowChecksum& RowChecksum::Add(absl::string_view text) {
  Add(text.size());
  if (!text.empty()) crc_ = libdeflate_crc32(crc_, text.data(), text.size());
  return *this;
}

uint32_t Checksum(const SavedRun& saved) {
  return RowChecksum().Add(saved.run_id).Add(saved.payload).Add(saved.last_sequence).value();
}

uint32_t Checksum(const JournalStop& stop) {
  return RowChecksum().Add(stop.sequence).Add(stop.vm).value();
}

absl::Status PutRun(SqliteDatabase* database, const SavedRun& saved) {
  // Updates in place: with the same length, which is usual, nothing else in the page moves.
  return SqliteQuery(database,
                     "INSERT INTO sessions(run_id, payload, last_sequence, checksum)"
                     " VALUES(?, ?, ?, ?) ON CONFLICT(run_id) DO UPDATE SET"
                     " payload = excluded.payload, last_sequence = excluded.last_sequence,"
                     " checksum = excluded.checksum")
      .BindText(saved.run_id)
      .BindBlob(saved.payload)
      .Bind(saved.last_sequence)
      .Bind(Checksum(saved))
      .Run();
}

absl::Status ReadRuns(SqliteDatabase* database, std::vector<SavedRun>* runs) {
  SqliteQuery rows(database,
                   "SELECT run_id, payload, last_sequence, checksum FROM sessions ORDER BY run_id");
  while (rows.Next()) {
    SavedRun saved{SharedText(rows.Bytes(0)), std::string(rows.Bytes(1)), rows.Uint(2)};
    if (Checksum(saved) != rows.Int(3)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of the run ", saved.run_id.str(), " is wrong"));
    }
    runs->push_back(std::move(saved));
  }
  return rows.status();
}

absl::Status ReadStops(SqliteDatabase* database, std::vector<JournalStop>* stops) {
  SqliteQuery rows(database, "SELECT sequence, vm, checksum FROM stops ORDER BY sequence");
  while (rows.Next()) {
    JournalStop stop{rows.Uint(0), std::string(rows.Bytes(1))};
    if (Checksum(stop) != rows.Int(2)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of stop ", stop.sequence, " is wrong"));
    }
    stops->push_back(std::move(stop));
  }
  return rows.status();
}

absl::Status PutBlock(SqliteDatabase* database, const StoredBlock::Columns& columns) {
  return SqliteQuery(database,
                     "INSERT INTO blocks(last, first, earliest_time, latest_time, checksum, names,"
                     " data) VALUES(?, ?, ?, ?, ?, ?, ?)")
      .Bind(columns.last)
      .Bind(columns.first)
      .Bind(columns.earliest_ns)
      .Bind(columns.latest_ns)
      .Bind(columns.checksum)
      .BindBlob(columns.names)
      .BindBlob(columns.data)
      .Run();
}

BlockQuery::BlockQuery(SqliteDatabase* database, uint64_t sequence)
    : SqliteQuery(database,
                  "SELECT last, first, earliest_time, latest_time, checksum, names, data"
                  " FROM blocks WHERE last >= ? ORDER BY last") {
  Bind(sequence);
}

BlockQuery::BlockQuery(SqliteDatabase* database, absl::string_view sql)
    : SqliteQuery(database, absl::StrCat("SELECT last, first, earliest_time, latest_time, checksum,"
                                         " names, data FROM blocks ",
                                         sql)) {}

const StoredBlock* BlockQuery::NextBlock() {
  if (!Next()) return nullptr;
  absl::StatusOr<StoredBlock> block = StoredBlock::Make({.first = Uint(1),
                                                         .last = Uint(0),
                                                         .earliest_ns = Int(2),
                                                         .latest_ns = Int(3),
                                                         .checksum = Int(4),
                                                         .names = Bytes(5),
                                                         .data = Bytes(6)});
  if (!block.ok()) {
    Fail(block.status());
    return nullptr;
  }
  block_ = *std::move(block);
  return &*block_;
}

absl::StatusOr<uint64_t> OldestOf(SqliteDatabase* database) {
  return SqliteQuery(database,
                     "SELECT max(first, coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE"
                     " key = 'retained_from'), 0)) FROM blocks"
                     " WHERE last = (SELECT min(last) FROM blocks)")
      .Number();
}

absl::StatusOr<JournalBounds> ReadBounds(SqliteDatabase* database, const JournalOptions& options) {
  const std::string& path = options.path;
  JournalBounds bounds;
  absl::StatusOr<std::optional<std::string>> deleted = QueryMeta(database, "deleted_until");
  if (!deleted.ok()) return deleted.status();
  int64_t deleted_ns = 0;
  if (deleted->has_value() && absl::SimpleAtoi(**deleted, &deleted_ns)) {
    bounds.deleted_until = absl::FromUnixNanos(deleted_ns);
  }
  absl::StatusOr<std::optional<std::string>> after = QueryMeta(database, "begins_after");
  if (!after.ok()) return after.status();
  uint64_t begins_after = 0;
  if (after->has_value() && !absl::SimpleAtoi(**after, &begins_after)) {
    return absl::DataLossError(absl::StrCat(path, ": meta's begins_after is no number"));
  }
  const absl::StatusOr<uint64_t> oldest = OldestOf(database);
  if (!oldest.ok()) return oldest.status();
  {
    BlockQuery rows(database, 0);
    const StoredBlock* const first = rows.NextBlock();
    if (!rows.status().ok()) return rows.status();
    if (first != nullptr && *oldest > first->last()) {
      return absl::DataLossError(absl::StrCat(path, ": meta's retained_from is no event's"));
    }
    if (first != nullptr) bounds.oldest_time = first->TimeOf(*oldest);
  }
  // The small blocks are those at the end; what is small before them stays so.
  SqliteQuery row(database,
                  absl::StrCat("SELECT (SELECT max(last) FROM blocks),"
                               " (SELECT latest_time FROM blocks ORDER BY last DESC"
                               " LIMIT 1),"
                               " (SELECT count(*) FROM stops),"
                               " (SELECT sum(last - first + 1) FROM holes WHERE first > ",
                               *oldest,
                               "),"
                               " (SELECT max(last) FROM (SELECT last, length(data) AS"
                               " size FROM blocks ORDER BY last DESC LIMIT ",
                               kMaxSmallBlocks, ") WHERE size >= ", options.row_bytes / 2, ")"));
  row.Next();
  if (!row.status().ok()) return row.status();
  bounds.newest = std::max(row.Uint(0), begins_after);
  if (*oldest != 0) bounds.latest_time = absl::FromUnixNanos(row.Int(1));
  bounds.stops = row.Int(2);
  bounds.missing = row.Int(3);
  bounds.merged_to = row.Uint(4);
  const absl::StatusOr<uint64_t> unmerged =
      SqliteQuery(database, "SELECT sum(length(data)) FROM blocks WHERE last > ?")
          .Bind(bounds.merged_to)
          .Number();
  if (!unmerged.ok()) return unmerged.status();
  bounds.unmerged_bytes = *unmerged;
  bounds.oldest = *oldest == 0 ? bounds.newest + 1 : *oldest;
  const absl::StatusOr<uint64_t> unbroken_from = BeginOfHoleBefore(database, bounds.oldest);
  if (!unbroken_from.ok()) return unbroken_from.status();
  bounds.unbroken_from = *unbroken_from;
  return bounds;
}

absl::StatusOr<uint64_t> BeginOfHoleBefore(SqliteDatabase* database, uint64_t sequence) {
  SqliteQuery hole(database, "SELECT first FROM holes WHERE last = ?");
  const uint64_t first = hole.Bind(sequence - 1).Next() ? hole.Uint(0) : sequence;
  if (!hole.status().ok()) return hole.status();
  return first;
}

absl::StatusOr<bool> IsEmpty(SqliteDatabase* database) {
  const absl::StatusOr<uint64_t> tables =
      SqliteQuery(database, "SELECT count(*) FROM sqlite_schema").Number();
  if (!tables.ok()) return tables.status();
  return *tables == 0;
}

absl::Status CheckSchema(SqliteDatabase* database, const std::string& path) {
  const absl::StatusOr<bool> empty = IsEmpty(database);
  if (!empty.ok() || *empty) return empty.status();
  SqliteQuery row(database,
                  "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema"
                  " WHERE type = 'table' AND name IN"
                  " ('meta', 'events', 'blocks', 'sessions', 'holes', 'stops'))"
                  " FROM pragma_user_version, pragma_application_id");
  row.Next();
  if (!row.status().ok()) return row.status();
  const int64_t version = row.Int(0);
  const int64_t application = row.Int(1);
  if (application != kApplicationId && row.Int(2) < 5) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": this is a database, but not vmeventd's; move it away, or name another "
                     "--state-dir"));
  }
  if (application != kApplicationId || version < kRowAnEventVersion) {
    return absl::DataLossError(absl::StrCat(path, ": the file's header says application_id ",
                                            application, " and user_version ", version,
                                            ", which no vmeventd has written"));
  }
  if (version == kRowAnEventVersion) {
    return absl::UnimplementedError(absl::StrCat(path, ": this journal is of schema version 1"));
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": the journal has schema version ", version, ", this vmeventd knows versions up to ",
        kSchemaVersion, "; run the newer vmeventd that wrote it, or name another --state-dir"));
  }
  return absl::OkStatus();
}

absl::Status CreateTables(SqliteDatabase* database) {
  return database->Execute(absl::StrCat(kSchema, "PRAGMA user_version = ", kSchemaVersion,
                                        "; PRAGMA application_id = ", kApplicationId, ";"));
}

absl::Status CreateSchemaIfNew(SqliteDatabase* database, const JournalBeginning& beginning) {
  const absl::StatusOr<bool> empty = IsEmpty(database);
  if (!empty.ok() || !*empty) return empty.status();
  const absl::StatusOr<std::string> journal_id = RandomUuid();
  if (!journal_id.ok()) return journal_id.status();
  const absl::StatusOr<std::string> token_key = RandomBytes(32);
  if (!token_key.ok()) return token_key.status();
  absl::Status status = database->Execute("BEGIN IMMEDIATE");
  if (status.ok()) status = CreateTables(database);
  if (status.ok()) status = PutMeta(database, "journal_id", *journal_id);
  if (status.ok()) status = PutMeta(database, "token_key", *token_key);
  if (status.ok() && beginning.after != 0) {
    status = PutMeta(database, "begins_after", absl::StrCat(beginning.after));
  }
  if (status.ok() && beginning.deleted_until != absl::InfinitePast()) {
    status = PutMeta(database, "deleted_until",
                     absl::StrCat(absl::ToUnixNanos(beginning.deleted_until)));
  }
  if (status.ok() && !beginning.replaces.empty()) {
    status = PutMeta(database, "replaces", beginning.replaces);
  }
  for (const SavedRun& saved : beginning.runs) {
    if (status.ok()) status = PutRun(database, saved);
  }
  if (status.ok()) status = database->Execute("COMMIT");
  return status;
}

absl::StatusOr<std::optional<std::string>> QueryMeta(SqliteDatabase* database,
                                                     absl::string_view key) {
  SqliteQuery row(database, "SELECT value FROM meta WHERE key = ?");
  std::optional<std::string> value;
  if (row.BindText(key).Next()) value = std::string(row.Bytes(0));
  if (!row.status().ok()) return row.status();
  return value;
}

absl::Status PutMeta(SqliteDatabase* database, absl::string_view key, absl::string_view value) {
  return SqliteQuery(database, "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)")
      .BindText(key)
      .BindBlob(value)
      .Run();
}

}  // namespace vmeventd
