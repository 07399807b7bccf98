#include "server/eventlog/schema.h"

#include <endian.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/fixed_array.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/random.h"

namespace vmeventd {
namespace {

// CRC-32, as zlib has it, but by the processor's carry-less multiplication. Numbers as 8 bytes,
// little endian; texts behind their length. What is added is put together first: one long piece
// takes a fraction of the time of many short ones.
class Crc {
 public:
  explicit Crc(size_t text_bytes) : bytes_(text_bytes + kMaxNumbers * sizeof(uint64_t)) {}
  Crc& Add(uint64_t number) {
    const uint64_t little_endian = htole64(number);
    std::memcpy(end_, &little_endian, sizeof(little_endian));
    end_ += sizeof(little_endian);
    return *this;
  }
  Crc& Add(absl::string_view text) {
    Add(text.size());
    end_ = std::copy(text.begin(), text.end(), end_);
    return *this;
  }
  uint32_t value() const {
    return libdeflate_crc32(0, bytes_.data(), static_cast<size_t>(end_ - bytes_.data()));
  }

 private:
  static constexpr size_t kMaxNumbers = 16;  // the lengths of texts among them
  static constexpr size_t kUsualBytes = 1024;

  absl::FixedArray<char, kUsualBytes> bytes_;
  char* end_ = bytes_.data();
};

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"

// Number of blocks at the end that a start looks at for small ones.
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

absl::Status PutRuns(SqliteDatabase* database, const std::vector<SavedRun>& runs) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(kPutRun);
  if (!statement.ok()) return statement.status();
  for (const SavedRun& saved : runs) {
    if (absl::Status status = BindRun(saved, &*statement).Run(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

uint32_t ChecksumOfEvent(const EventRow& event) {
  return Crc(event.vm_name.size() + event.run_id.size() + event.payload.size())
      .Add(event.sequence)
      .Add(static_cast<uint64_t>(event.observe_ns))
      .Add(event.vm_name)
      .Add(event.run_id)
      .Add(event.type)
      .Add(event.shutdown_class)
      .Add(event.payload)
      .value();
}

uint32_t Checksum(const SavedRun& saved) {
  return Crc(saved.run_id.size() + saved.payload.size())
      .Add(saved.run_id)
      .Add(saved.payload)
      .Add(saved.last_sequence)
      .value();
}

uint32_t Checksum(const JournalStop& stop) {
  return Crc(stop.vm.size()).Add(stop.sequence).Add(stop.vm).value();
}

SqliteStatement& BindRun(const SavedRun& saved, SqliteStatement* statement) {
  return statement->BindText(1, saved.run_id)
      .BindBlob(2, saved.payload)
      .Bind(3, static_cast<int64_t>(saved.last_sequence))
      .Bind(4, Checksum(saved));
}

absl::Status ReadRuns(SqliteDatabase* database, std::vector<SavedRun>* runs) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(
      "SELECT run_id, payload, last_sequence, checksum FROM sessions ORDER BY run_id");
  if (!statement.ok()) return statement.status();
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    SavedRun saved{std::string(statement->Bytes(0)), std::string(statement->Bytes(1)),
                   static_cast<uint64_t>(statement->Int(2))};
    if (Checksum(saved) != statement->Int(3)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of session ", saved.run_id, " is wrong"));
    }
    runs->push_back(std::move(saved));
  }
}

absl::StatusOr<std::vector<JournalStop>> ReadStops(SqliteDatabase* database) {
  absl::StatusOr<SqliteStatement> statement =
      database->Prepare("SELECT sequence, vm, checksum FROM stops ORDER BY sequence");
  if (!statement.ok()) return statement.status();
  std::vector<JournalStop> stops;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return stops;
    JournalStop stop{static_cast<uint64_t>(statement->Int(0)), std::string(statement->Bytes(1))};
    if (Checksum(stop) != statement->Int(2)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of stop ", stop.sequence, " is wrong"));
    }
    stops.push_back(std::move(stop));
  }
}

absl::StatusOr<StoredBlock> ReadBlock(const SqliteStatement& statement) {
  return StoredBlock::Make({.first = static_cast<uint64_t>(statement.Int(0)),
                            .last = static_cast<uint64_t>(statement.Int(1)),
                            .earliest_ns = statement.Int(2),
                            .latest_ns = statement.Int(3),
                            .checksum = statement.Int(4),
                            .names = statement.Bytes(5),
                            .data = statement.Bytes(6)});
}

SqliteStatement& BindBlock(const StoredBlock::Columns& columns, SqliteStatement* statement) {
  return statement->Bind(1, static_cast<int64_t>(columns.first))
      .Bind(2, static_cast<int64_t>(columns.last))
      .Bind(3, columns.earliest_ns)
      .Bind(4, columns.latest_ns)
      .Bind(5, columns.checksum)
      .BindBlob(6, columns.names)
      .BindBlob(7, columns.data);
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
  const absl::StatusOr<int64_t> newest =
      QueryInt(database, "SELECT coalesce(max(last), 0) FROM blocks");
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<int64_t> oldest = QueryInt(database, kSelectOldest);
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<int64_t> missing =
      QueryInt(database, absl::StrCat("SELECT coalesce(sum(last - first + 1), 0) FROM holes WHERE"
                                      " first > ",
                                      *oldest));
  if (!missing.ok()) return missing.status();
  if (*oldest != 0) {
    absl::StatusOr<SqliteStatement> first =
        database->Prepare(absl::StrCat(kSelectBlocks, "ORDER BY last LIMIT 1"));
    if (!first.ok()) return first.status();
    absl::StatusOr<bool> row = first->Step();
    if (!row.ok()) return row.status();
    const absl::StatusOr<StoredBlock> block = ReadBlock(*first);
    if (!block.ok()) return block.status();
    if (static_cast<uint64_t>(*oldest) > block->last()) {
      return absl::DataLossError(absl::StrCat(path, ": meta's retained_from is no event's"));
    }
    bounds.oldest_time = block->TimeOf(static_cast<uint64_t>(*oldest));
    const absl::StatusOr<int64_t> latest =
        QueryInt(database, "SELECT latest_time FROM blocks ORDER BY last DESC LIMIT 1");
    if (!latest.ok()) return latest.status();
    bounds.latest_time = absl::FromUnixNanos(*latest);
    // The small ones at the end; what is small before them stays so.
    const absl::StatusOr<int64_t> large = QueryInt(
        database, absl::StrCat("SELECT coalesce(max(last), 0) FROM (SELECT last, length(data) AS"
                               " size FROM blocks ORDER BY last DESC LIMIT ",
                               kMaxSmallBlocks, ") WHERE size >= ", options.row_bytes / 2));
    if (!large.ok()) return large.status();
    bounds.merged_to = static_cast<uint64_t>(*large);
    const absl::StatusOr<int64_t> small =
        QueryInt(database, absl::StrCat("SELECT coalesce(sum(length(data)), 0) FROM blocks WHERE"
                                        " last > ",
                                        *large));
    if (!small.ok()) return small.status();
    bounds.unmerged_bytes = static_cast<size_t>(*small);
  }
  const absl::StatusOr<int64_t> stops = QueryInt(database, "SELECT count(*) FROM stops");
  if (!stops.ok()) return stops.status();
  bounds.stops = *stops;
  bounds.newest = std::max(static_cast<uint64_t>(*newest), begins_after);
  bounds.oldest = *oldest == 0 ? bounds.newest + 1 : static_cast<uint64_t>(*oldest);
  const absl::StatusOr<uint64_t> unbroken_from = BeginOfHoleBefore(database, bounds.oldest);
  if (!unbroken_from.ok()) return unbroken_from.status();
  bounds.unbroken_from = *unbroken_from;
  bounds.missing = *missing;
  return bounds;
}

absl::StatusOr<uint64_t> BeginOfHoleBefore(SqliteDatabase* database, uint64_t sequence) {
  absl::StatusOr<SqliteStatement> hole =
      database->Prepare("SELECT first FROM holes WHERE last = ?");
  if (!hole.ok()) return hole.status();
  hole->Bind(1, static_cast<int64_t>(sequence) - 1);
  absl::StatusOr<bool> row = hole->Step();
  if (!row.ok()) return row.status();
  return *row ? static_cast<uint64_t>(hole->Int(0)) : sequence;
}

absl::StatusOr<bool> IsEmpty(SqliteDatabase* database) {
  const absl::StatusOr<int64_t> tables = QueryInt(database, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  return *tables == 0;
}

absl::Status CheckSchema(SqliteDatabase* database, const std::string& path) {
  const absl::StatusOr<bool> empty = IsEmpty(database);
  if (!empty.ok()) return empty.status();
  if (*empty) return absl::OkStatus();
  const absl::StatusOr<int64_t> version = QueryInt(database, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  const absl::StatusOr<int64_t> application = QueryInt(database, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  const absl::StatusOr<int64_t> ours =
      QueryInt(database,
               "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('meta', "
               "'events', 'blocks', 'sessions', 'holes', 'stops')");
  if (!ours.ok()) return ours.status();
  if (*application != kApplicationId && *ours < 5) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": this is a database, but not vmeventd's; move it away, or name another "
                     "--state-dir"));
  }
  if (*application != kApplicationId || *version < kRowAnEventVersion) {
    return absl::DataLossError(absl::StrCat(path, ": the file's header says application_id ",
                                            *application, " and user_version ", *version,
                                            ", which no vmeventd has written"));
  }
  if (*version == kRowAnEventVersion) {
    return absl::UnimplementedError(absl::StrCat(path, ": this journal is of schema version 1"));
  }
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the journal has schema version ", *version,
                     ", this vmeventd knows versions up to ", kSchemaVersion,
                     "; run the newer vmeventd that wrote it, or name another --state-dir"));
  }
  return absl::OkStatus();
}

absl::Status CreateTables(SqliteDatabase* database) {
  return database->Execute(absl::StrCat(kSchema, "PRAGMA user_version = ", kSchemaVersion,
                                        "; PRAGMA application_id = ", kApplicationId, ";"));
}

absl::Status CreateSchemaIfNew(SqliteDatabase* database, const JournalBeginning& beginning) {
  const absl::StatusOr<bool> empty = IsEmpty(database);
  if (!empty.ok()) return empty.status();
  if (!*empty) return absl::OkStatus();
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
  if (status.ok()) status = PutRuns(database, beginning.runs);
  if (status.ok()) status = database->Execute("COMMIT");
  return status;
}

absl::StatusOr<int64_t> QueryInt(SqliteDatabase* database, absl::string_view sql) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(sql);
  if (!statement.ok()) return statement.status();
  absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  return *row ? statement->Int(0) : 0;
}

absl::StatusOr<std::optional<std::string>> QueryMeta(SqliteDatabase* database,
                                                     absl::string_view key) {
  absl::StatusOr<SqliteStatement> statement =
      database->Prepare("SELECT value FROM meta WHERE key = ?");
  if (!statement.ok()) return statement.status();
  statement->BindText(1, key);
  absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::optional<std::string>();
  return std::optional<std::string>(std::string(statement->Bytes(0)));
}

absl::Status PutMeta(SqliteDatabase* database, absl::string_view key, absl::string_view value) {
  absl::StatusOr<SqliteStatement> statement =
      database->Prepare("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)");
  if (!statement.ok()) return statement.status();
  return statement->BindText(1, key).BindBlob(2, value).Run();
}

}  // namespace vmeventd
