#include "server/journal.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/random.h"

namespace vmeventd {
namespace {

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"
constexpr int64_t kSchemaVersion = 1;

// One step of retention: short enough to come between two appends unnoticed.
constexpr int64_t kRetainRows = 500;

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
    checksum INTEGER NOT NULL);
  CREATE TABLE sessions(
    run_id TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
)sql";

// SQLite gives a new file the mode that its umask leaves; the write-ahead log takes the database's.
absl::Status CreateFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
  if (fd < 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": cannot open the journal: ", std::strerror(errno)));
  }
  close(fd);
  return absl::OkStatus();
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

// CRC-32, zlib's. Numbers as 8 bytes, little endian; texts behind their length.
class Crc {
 public:
  Crc& Add(uint64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> (8 * i));
    crc_ = crc32(crc_, bytes, sizeof bytes);
    return *this;
  }
  Crc& Add(absl::string_view text) {
    Add(text.size());
    crc_ = crc32_z(crc_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    return *this;
  }
  uint32_t value() const { return static_cast<uint32_t>(crc_); }

 private:
  uLong crc_ = crc32(0, nullptr, 0);
};

// Moves the database and what belongs to it out of the way. Returns the new name.
absl::StatusOr<std::string> MoveAside(const std::string& path, absl::Time now) {
  const std::string stamp = absl::FormatTime("%Y%m%dT%H%M%S", now, absl::UTCTimeZone());
  std::string target = absl::StrCat(path, ".corrupt-", stamp);
  for (int i = 1; access(target.c_str(), F_OK) == 0; ++i) {
    target = absl::StrCat(path, ".corrupt-", stamp, "-", i);
  }
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string from = absl::StrCat(path, suffix);
    if (std::rename(from.c_str(), absl::StrCat(target, suffix).c_str()) != 0 && errno != ENOENT) {
      return absl::PermissionDeniedError(
          absl::StrCat(from, ": cannot move the corrupt journal aside: ", std::strerror(errno)));
    }
  }
  return target;
}

}  // namespace

uint32_t Checksum(const JournalEvent& event) {
  return Crc()
      .Add(event.sequence)
      .Add(static_cast<uint64_t>(absl::ToUnixNanos(event.observe_time)))
      .Add(event.vm_name)
      .Add(event.run_id)
      .Add(static_cast<uint64_t>(event.type))
      .Add(static_cast<uint64_t>(event.shutdown_class))
      .Add(event.payload)
      .value();
}

uint32_t Checksum(const JournalSession& session) {
  return Crc().Add(session.run_id).Add(session.payload).value();
}

absl::StatusOr<Journal::Opened> Journal::Open(const JournalOptions& options, absl::Time now) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = TryOpen(options);
  if (journal.ok()) return Opened{*std::move(journal), "", ""};
  if (!absl::IsDataLoss(journal.status())) return journal.status();
  return OpenNew(options, std::string(journal.status().message()), now);
}

absl::StatusOr<Journal::Opened> Journal::OpenNew(const JournalOptions& options, std::string because,
                                                 absl::Time now) {
  absl::StatusOr<std::string> moved_to = MoveAside(options.path, now);
  if (!moved_to.ok()) return moved_to.status();
  absl::StatusOr<std::unique_ptr<Journal>> journal = TryOpen(options);
  if (!journal.ok()) return journal.status();
  return Opened{*std::move(journal), *std::move(moved_to), std::move(because)};
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::TryOpen(const JournalOptions& options) {
  if (absl::Status status = CreateFile(options.path); !status.ok()) return status;
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(
      options.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return database.status();
  std::unique_ptr<Journal> journal(new Journal(options, *std::move(database)));
  // `cell_size_check` finds more corruption, `trusted_schema` runs nothing that a foreign file
  // brings along. The limit keeps the log small after a burst.
  absl::Status status = journal->database_.Execute(
      "PRAGMA busy_timeout = 500; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;"
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = "
      "16777216;");
  if (status.ok()) status = journal->CreateIfNew();
  if (status.ok()) status = journal->LoadMeta();
  if (status.ok()) status = journal->PrepareStatements();
  if (status.ok()) status = journal->LoadSessions().status();
  if (!status.ok()) return status;
  return journal;
}

absl::Status Journal::CreateIfNew() {
  const absl::StatusOr<int64_t> tables = QueryInt(&database_, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  const absl::StatusOr<int64_t> version = QueryInt(&database_, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  const absl::StatusOr<int64_t> application = QueryInt(&database_, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  if (*tables == 0) {
    const absl::StatusOr<std::string> journal_id = RandomUuid();
    if (!journal_id.ok()) return journal_id.status();
    const absl::StatusOr<std::string> token_key = RandomBytes(32);
    if (!token_key.ok()) return token_key.status();
    absl::Status status = database_.Execute(
        absl::StrCat("BEGIN IMMEDIATE;", kSchema, "PRAGMA user_version = ", kSchemaVersion,
                     "; PRAGMA application_id = ", kApplicationId, ";"));
    if (status.ok()) status = PutMeta(&database_, "journal_id", *journal_id);
    if (status.ok()) status = PutMeta(&database_, "token_key", *token_key);
    if (status.ok()) status = database_.Execute("COMMIT");
    return status;
  }
  if (*application != kApplicationId) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path,
                     ": this is a database, but not vmeventd's; move it away, or name another "
                     "--state-dir"));
  }
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path, ": the journal has schema version ", *version,
                     ", this vmeventd knows versions up to ", kSchemaVersion,
                     "; run the newer vmeventd that wrote it, or name another --state-dir"));
  }
  return absl::OkStatus();
}

absl::Status Journal::LoadMeta() {
  for (const auto& [key, value] :
       {std::pair("journal_id", &journal_id_), std::pair("token_key", &token_key_)}) {
    absl::StatusOr<std::optional<std::string>> found = QueryMeta(&database_, key);
    if (!found.ok()) return found.status();
    if (!found->has_value()) {
      return absl::DataLossError(absl::StrCat(options_.path, ": meta has no ", key));
    }
    *value = **std::move(found);
  }
  absl::StatusOr<std::optional<std::string>> deleted = QueryMeta(&database_, "deleted_until");
  if (!deleted.ok()) return deleted.status();
  int64_t deleted_ns = 0;
  if (deleted->has_value() && absl::SimpleAtoi(**deleted, &deleted_ns)) {
    deleted_until_ = absl::FromUnixNanos(deleted_ns);
  }
  const absl::StatusOr<int64_t> newest =
      QueryInt(&database_, "SELECT coalesce(max(sequence), 0) FROM events");
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<int64_t> oldest =
      QueryInt(&database_, "SELECT coalesce(min(sequence), 1) FROM events");
  if (!oldest.ok()) return oldest.status();
  newest_ = static_cast<uint64_t>(*newest);
  oldest_ = static_cast<uint64_t>(*oldest);
  return absl::OkStatus();
}

absl::Status Journal::PrepareStatements() {
  const struct {
    const char* sql;
    std::unique_ptr<SqliteStatement>* statement;
  } statements[] = {
      {"INSERT INTO events(sequence, observe_time, vm_name, run_id, type, class, payload, checksum)"
       " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
       &insert_event_},
      {"INSERT OR REPLACE INTO sessions(run_id, payload, checksum) VALUES(?, ?, ?)", &put_session_},
      {"DELETE FROM sessions WHERE run_id = ?", &delete_session_},
  };
  for (const auto& [sql, statement] : statements) {
    absl::StatusOr<SqliteStatement> prepared = database_.Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = std::make_unique<SqliteStatement>(*std::move(prepared));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JournalSession>> Journal::LoadSessions() {
  absl::StatusOr<SqliteStatement> statement =
      database_.Prepare("SELECT run_id, payload, checksum FROM sessions ORDER BY run_id");
  if (!statement.ok()) return statement.status();
  std::vector<JournalSession> sessions;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return sessions;
    JournalSession session{std::string(statement->Bytes(0)), std::string(statement->Bytes(1))};
    if (Checksum(session) != statement->Int(2)) {
      return absl::DataLossError(
          absl::StrCat(options_.path, ": the checksum of session ", session.run_id, " is wrong"));
    }
    sessions.push_back(std::move(session));
  }
}

absl::Status Journal::Append(const Batch& batch) {
  absl::Status status = database_.Execute("BEGIN IMMEDIATE");
  if (status.ok()) status = AppendInTransaction(batch);
  if (status.ok()) status = database_.Execute("COMMIT");
  if (!status.ok()) {
    // Where this fails as well the connection has rolled back by itself.
    if (database_.in_transaction()) database_.Execute("ROLLBACK").IgnoreError();
    return status;
  }
  if (!batch.events.empty()) {
    if (newest_ < oldest_) oldest_ = batch.events.front().sequence;
    newest_ = batch.events.back().sequence;
  }
  return absl::OkStatus();
}

absl::Status Journal::AppendInTransaction(const Batch& batch) {
  for (const JournalEvent& event : batch.events) {
    absl::Status status = insert_event_->Bind(1, static_cast<int64_t>(event.sequence))
                              .Bind(2, absl::ToUnixNanos(event.observe_time))
                              .BindText(3, event.vm_name)
                              .BindText(4, event.run_id)
                              .Bind(5, event.type)
                              .Bind(6, event.shutdown_class)
                              .BindBlob(7, event.payload)
                              .Bind(8, Checksum(event))
                              .Run();
    if (!status.ok()) return status;
  }
  for (const JournalSession& session : batch.sessions) {
    absl::Status status = session.payload.empty()
                              ? delete_session_->BindText(1, session.run_id).Run()
                              : put_session_->BindText(1, session.run_id)
                                    .BindBlob(2, session.payload)
                                    .Bind(3, Checksum(session))
                                    .Run();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Journal::RetainStep(absl::Time now) {
  const int64_t cutoff = absl::ToUnixNanos(now - options_.retention_age);
  const int64_t excess = static_cast<int64_t>(newest_ + 1 - oldest_) - options_.retention_events;
  const int64_t first = static_cast<int64_t>(oldest_);
  const int64_t limit = std::min<int64_t>(first + kRetainRows, static_cast<int64_t>(newest_));

  // How far this step goes: what is too many, and from there on what is too old. The clock may have
  // stepped, so only a run of old events at the beginning goes.
  int64_t until = std::clamp<int64_t>(first + excess, first, limit);
  absl::StatusOr<SqliteStatement> old =
      database_.Prepare("SELECT observe_time FROM events WHERE sequence >= ? ORDER BY sequence");
  if (!old.ok()) return old.status();
  old->Bind(1, until);
  while (until < limit) {
    absl::StatusOr<bool> row = old->Step();
    if (!row.ok()) return row.status();
    if (!*row || old->Int(0) >= cutoff) break;
    ++until;
  }
  old->Reset();
  if (until == first) return false;

  absl::Status status = database_.Execute("BEGIN IMMEDIATE");
  absl::StatusOr<int64_t> latest = QueryInt(
      &database_, absl::StrCat("SELECT max(observe_time) FROM events WHERE sequence < ", until));
  if (status.ok()) status = latest.status();
  const absl::Time deleted_until =
      std::max(deleted_until_, absl::FromUnixNanos(latest.value_or(0)));
  if (status.ok()) {
    status = PutMeta(&database_, "deleted_until", absl::StrCat(absl::ToUnixNanos(deleted_until)));
  }
  if (status.ok()) {
    status = database_.Execute(absl::StrCat("DELETE FROM events WHERE sequence < ", until));
  }
  if (status.ok()) status = database_.Execute("COMMIT");
  if (!status.ok()) {
    if (database_.in_transaction()) database_.Execute("ROLLBACK").IgnoreError();
    return status;
  }
  oldest_ = static_cast<uint64_t>(until);
  deleted_until_ = deleted_until;
  return until == limit && limit < static_cast<int64_t>(newest_);
}

}  // namespace vmeventd
