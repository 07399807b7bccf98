#include "server/journal/schema.h"

#include "absl/strings/str_cat.h"
#include "base/random.h"

namespace vmeventd {
namespace {

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"
constexpr int64_t kSchemaVersion = 1;

// With a rowid: a row without one must not take more than a quarter of a page, or it takes a page
// of its own beside, and most runs do.
constexpr char kSessions[] = R"sql(
  CREATE TABLE sessions(
    run_id TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    last_sequence INTEGER NOT NULL,
    checksum INTEGER NOT NULL);
)sql";

constexpr char kSchema[] = R"sql(
  CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE events(
    sequence INTEGER PRIMARY KEY,
    observe_time INTEGER NOT NULL,
    vm_name TEXT NOT NULL,
    run_id TEXT NOT NULL,
    type INTEGER NOT NULL,
    class INTEGER NOT NULL,
    payload BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    latest_time INTEGER);
  CREATE INDEX events_by_vm ON events(vm_name);
  CREATE INDEX clock_steps ON events(sequence) WHERE latest_time IS NOT NULL;
  CREATE INDEX early_events ON events(observe_time) WHERE latest_time IS NOT NULL;
  CREATE TABLE holes(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
  CREATE TABLE stops(
    sequence INTEGER PRIMARY KEY,
    vm BLOB NOT NULL,
    checksum INTEGER NOT NULL);
)sql";

absl::Status PutSessions(SqliteDatabase* database, const std::vector<JournalSession>& sessions) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(kPutSession);
  if (!statement.ok()) return statement.status();
  for (const JournalSession& session : sessions) {
    if (absl::Status status = BindSession(session, &*statement).Run(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

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
               "'events', 'sessions', 'holes', 'stops')");
  if (!ours.ok()) return ours.status();
  if (*application != kApplicationId && *ours < 5) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": this is a database, but not vmeventd's; move it away, or name another "
                     "--state-dir"));
  }
  if (*application != kApplicationId || *version < kSchemaVersion) {
    return absl::DataLossError(absl::StrCat(path, ": the file's header says application_id ",
                                            *application, " and user_version ", *version,
                                            ", which no vmeventd has written"));
  }
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the journal has schema version ", *version,
                     ", this vmeventd knows versions up to ", kSchemaVersion,
                     "; run the newer vmeventd that wrote it, or name another --state-dir"));
  }
  return absl::OkStatus();
}

absl::Status CreateSchemaIfNew(SqliteDatabase* database, const JournalBeginning& beginning) {
  const absl::StatusOr<bool> empty = IsEmpty(database);
  if (!empty.ok()) return empty.status();
  if (!*empty) return absl::OkStatus();
  const absl::StatusOr<std::string> journal_id = RandomUuid();
  if (!journal_id.ok()) return journal_id.status();
  const absl::StatusOr<std::string> token_key = RandomBytes(32);
  if (!token_key.ok()) return token_key.status();
  absl::Status status = database->Execute(
      absl::StrCat("BEGIN IMMEDIATE;", kSchema, kSessions, "PRAGMA user_version = ", kSchemaVersion,
                   "; PRAGMA application_id = ", kApplicationId, ";"));
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
  if (status.ok()) status = PutSessions(database, beginning.sessions);
  if (status.ok()) status = database->Execute("COMMIT");
  return status;
}

absl::Status AddIndexes(SqliteDatabase* database) {
  const absl::Status status = database->Execute(
      "CREATE INDEX IF NOT EXISTS early_events ON events(observe_time)"
      " WHERE latest_time IS NOT NULL");
  // On a full disk the start goes on: queries that use the index are slower without it.
  return absl::IsUnavailable(status) ? absl::OkStatus() : status;
}

absl::Status GiveSessionsRowids(SqliteDatabase* database) {
  const absl::StatusOr<int64_t> without = QueryInt(
      database,
      "SELECT count(*) FROM sqlite_schema WHERE name = 'sessions' AND sql LIKE '%WITHOUT ROWID%'");
  if (!without.ok()) return without.status();
  if (*without == 0) return absl::OkStatus();
  absl::Status status = database->Execute(absl::StrCat(
      "BEGIN IMMEDIATE; ALTER TABLE sessions RENAME TO sessions_before;", kSessions,
      "INSERT INTO sessions SELECT run_id, payload, last_sequence, checksum FROM sessions_before;"
      "DROP TABLE sessions_before; COMMIT"));
  if (!status.ok() && database->in_transaction()) database->Execute("ROLLBACK").IgnoreError();
  // On a full disk the start goes on: a run takes longer to write with the table as it is.
  return absl::IsUnavailable(status) ? absl::OkStatus() : status;
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
