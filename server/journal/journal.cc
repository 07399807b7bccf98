#include "server/journal/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/random.h"

namespace vmeventd {
namespace {

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"
constexpr int64_t kSchemaVersion = 1;

// One step of retention: short enough to come between two appends unnoticed.
constexpr int64_t kRetainRows = 500;

// How many of the VMs that stopped last are kept for the answers about VMs.
constexpr int64_t kMaxStops = 10'000;

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
  CREATE TABLE sessions(
    run_id TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    last_sequence INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE holes(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
  CREATE TABLE stops(
    sequence INTEGER PRIMARY KEY,
    vm BLOB NOT NULL,
    checksum INTEGER NOT NULL);
)sql";

// SQLite gives a new file the mode that its umask leaves; the write-ahead log takes the database's.
absl::Status CreateFile(const std::string& path) {
  const int fd =
      open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
  if (fd < 0) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot open the journal: ", std::strerror(errno)));
  }
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  close(fd);
  if (!known || !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": this is no regular file; move it away"));
  }
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": belongs to the user with the id ", info.st_uid, ", and vmeventd runs as ",
        geteuid(), ": give it to that user, or run vmeventd as its owner"));
  }
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
    if (text.empty()) return *this;  // zlib takes a null pointer for a wish to begin anew
    crc_ = crc32_z(crc_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    return *this;
  }
  uint32_t value() const { return static_cast<uint32_t>(crc_); }

 private:
  uLong crc_ = crc32(0, nullptr, 0);
};

// Moves the database and what belongs to it out of the way. Returns the new name; empty: there was
// no database.
absl::StatusOr<std::string> MoveAside(const std::string& path, absl::Time now) {
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0 && info.st_size == 0)
    unlink(path.c_str());  // nothing to keep
  const std::string stamp = absl::FormatTime("%Y%m%dT%H%M%S", now, absl::UTCTimeZone());
  std::string target = absl::StrCat(path, ".corrupt-", stamp);
  for (int i = 1; access(target.c_str(), F_OK) == 0; ++i) {
    target = absl::StrCat(path, ".corrupt-", stamp, "-", i);
  }
  const bool is_there = access(path.c_str(), F_OK) == 0;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string from = absl::StrCat(path, suffix);
    if (std::rename(from.c_str(), absl::StrCat(target, suffix).c_str()) != 0 && errno != ENOENT) {
      return absl::UnavailableError(
          absl::StrCat(from, ": cannot move the corrupt journal aside: ", std::strerror(errno)));
    }
  }
  return is_there ? target : "";
}

// The open runs, up to the first that cannot be read.
absl::Status ReadSessions(SqliteDatabase* database, std::vector<JournalSession>* sessions) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(
      "SELECT run_id, payload, last_sequence, checksum FROM sessions ORDER BY run_id");
  if (!statement.ok()) return statement.status();
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    JournalSession session{std::string(statement->Bytes(0)), std::string(statement->Bytes(1)),
                           static_cast<uint64_t>(statement->Int(2))};
    if (Checksum(session) != statement->Int(3)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of session ", session.run_id, " is wrong"));
    }
    sessions->push_back(std::move(session));
  }
}

// What a corrupt database still tells of the open runs, so that their evidence is not lost with it.
std::vector<JournalSession> SalvageSessions(const std::string& path) {
  std::vector<JournalSession> sessions;
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (database.ok()) ReadSessions(&*database, &sessions).IgnoreError();
  return sessions;
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
  return Crc().Add(session.run_id).Add(session.payload).Add(session.last_sequence).value();
}

uint32_t Checksum(const JournalStop& stop) { return Crc().Add(stop.sequence).Add(stop.vm).value(); }

absl::StatusOr<Journal::Opened> Journal::Open(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  absl::StatusOr<Opened> opened = TryLoad(options, newest_durable);
  if (!absl::IsDataLoss(opened.status())) return opened;
  return OpenNew(options, std::string(opened.status().message()), now);
}

absl::StatusOr<Journal::Opened> Journal::TryLoad(
    const JournalOptions& options,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = TryOpen(options, {});
  if (!journal.ok()) return journal.status();
  absl::StatusOr<std::string> copied = (*journal)->WhyCopied();
  if (!copied.ok()) return copied.status();
  const bool is_copy = !copied->empty();
  // What is known of the files before says nothing of a copy of them.
  const uint64_t must_hold = is_copy ? 0 : newest_durable((*journal)->journal_id());
  if (must_hold > (*journal)->newest()) {
    return absl::DataLossError(absl::StrCat(options.path, ": its newest event is ",
                                            (*journal)->newest(), ", but events up to ", must_hold,
                                            " had been committed"));
  }
  Opened opened;
  if (absl::Status status = ReadSessions(&(*journal)->database_, &opened.sessions); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::vector<JournalStop>> stops = (*journal)->LoadStops();
  if (!stops.ok()) return stops.status();
  opened.stops = *std::move(stops);
  if (absl::Status status = (*journal)->TakeDownOrigin(is_copy); !status.ok()) return status;
  opened.restored_because = *std::move(copied);
  opened.journal = *std::move(journal);
  return opened;
}

absl::StatusOr<Journal::Opened> Journal::OpenNew(const JournalOptions& options, std::string because,
                                                 absl::Time now, uint64_t begins_after,
                                                 Journal* before) {
  if (before != nullptr && !before->CheckInPlace().ok()) {
    // Wherever its file is now, it shall be whole. If that fails, what is missing is in its log.
    before->database_.Execute("PRAGMA wal_checkpoint(TRUNCATE)").IgnoreError();
  }
  absl::StatusOr<std::string> moved_to = MoveAside(options.path, now);
  if (!moved_to.ok()) return moved_to.status();
  absl::StatusOr<std::unique_ptr<Journal>> journal = TryOpen(options, {begins_after, now});
  if (!journal.ok()) return journal.status();
  if (absl::Status status = (*journal)->TakeDownOrigin(false); !status.ok()) return status;
  Opened opened;
  opened.journal = *std::move(journal);
  if (!moved_to->empty()) opened.sessions = SalvageSessions(*moved_to);
  opened.moved_to = *std::move(moved_to);
  opened.moved_because = std::move(because);
  return opened;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::TryOpen(const JournalOptions& options,
                                                          const Beginning& beginning) {
  if (absl::Status status = CreateFile(options.path); !status.ok()) return status;
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(
      options.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return database.status();
  std::unique_ptr<Journal> journal(new Journal(options, *std::move(database)));
  // `cell_size_check` finds more corruption, `trusted_schema` runs nothing that a foreign file
  // brings along. The limit keeps the log small after a burst. Nothing is changed in a file that is
  // not ours.
  absl::Status status = journal->database_.Execute(
      "PRAGMA busy_timeout = 500; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;");
  if (status.ok()) status = journal->CheckOurs();
  if (status.ok()) {
    status = journal->database_.Execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = "
        "4194304;");
  }
  if (status.ok()) status = journal->database_.KeepLogFile();
  if (status.ok()) status = journal->CreateIfNew(beginning);
  if (status.ok()) status = journal->AddIndexes();
  if (status.ok()) status = journal->PrepareStatements();
  if (status.ok()) status = journal->LoadMeta();
  // The identity is ours and the version is known: a table or column that is not there was lost.
  if (absl::IsInternal(status)) return absl::DataLossError(status.message());
  if (!status.ok()) return status;
  journal->file_ = FileKeyOf(options.path);
  journal->log_ = FileKeyOf(options.path + "-wal");
  return journal;
}

// An index that a journal of an earlier version lacks. It is not worth a start that fails on a full
// disk: what it serves works without it, if slower.
absl::Status Journal::AddIndexes() {
  const absl::Status status = database_.Execute(
      "CREATE INDEX IF NOT EXISTS early_events ON events(observe_time)"
      " WHERE latest_time IS NOT NULL");
  return absl::IsUnavailable(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::string> Journal::WhyCopied() {
  absl::StatusOr<std::optional<std::string>> file = QueryMeta(&database_, "file");
  if (!file.ok()) return file.status();
  absl::StatusOr<std::optional<std::string>> generations = QueryMeta(&database_, "generations");
  if (!generations.ok()) return generations.status();
  return WhyJournalIsCopy(options_.path, {file->value_or(""), generations->value_or("")});
}

absl::Status Journal::TakeDownOrigin(bool new_identity) {
  const absl::StatusOr<std::string> generation = RandomUuid();
  if (!generation.ok()) return generation.status();
  const JournalOrigin origin = OriginWith(options_.path, *generation);
  std::string journal_id = journal_id_;
  std::string token_key = token_key_;
  if (new_identity) {
    absl::StatusOr<std::string> id = RandomUuid();
    if (!id.ok()) return id.status();
    absl::StatusOr<std::string> key = RandomBytes(32);
    if (!key.ok()) return key.status();
    journal_id = *std::move(id);
    token_key = *std::move(key);
  }
  const absl::Status status = Transact([&](Bounds*) {
    absl::Status put = PutMeta(&database_, "file", origin.file);
    if (put.ok()) put = PutMeta(&database_, "generations", origin.generations);
    if (put.ok()) put = PutMeta(&database_, "journal_id", journal_id);
    if (put.ok()) put = PutMeta(&database_, "token_key", token_key);
    return put;
  });
  // On a full disk what was taken down before still holds; but a copy must not go on as it was.
  if (!status.ok()) return absl::IsUnavailable(status) && !new_identity ? absl::OkStatus() : status;
  journal_id_ = journal_id;
  token_key_ = token_key;
  BeginGeneration(options_.path, *generation);
  return absl::OkStatus();
}

absl::Status Journal::SetDeletedUntil(absl::Time time) {
  return Transact([&](Bounds* bounds) {
    bounds->deleted_until = time;
    return put_deleted_until_->BindText(1, absl::StrCat(absl::ToUnixNanos(time))).Run();
  });
}

absl::Status Journal::CheckInPlace() const {
  for (const auto& [path, key] :
       {std::pair(options_.path, file_), std::pair(options_.path + "-wal", log_)}) {
    if (IsOtherFile(key, FileKeyOf(path))) {
      return absl::DataLossError(
          absl::StrCat(path, ": this file was moved, removed or replaced while vmeventd uses it"));
    }
  }
  return absl::OkStatus();
}

absl::Status Journal::CheckOurs() {
  const absl::StatusOr<int64_t> tables = QueryInt(&database_, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  if (*tables == 0) return absl::OkStatus();
  const absl::StatusOr<int64_t> version = QueryInt(&database_, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  const absl::StatusOr<int64_t> application = QueryInt(&database_, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  const absl::StatusOr<int64_t> ours =
      QueryInt(&database_,
               "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('meta', "
               "'events', 'sessions', 'holes', 'stops')");
  if (!ours.ok()) return ours.status();
  if (*application != kApplicationId && *ours < 5) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path,
                     ": this is a database, but not vmeventd's; move it away, or name another "
                     "--state-dir"));
  }
  if (*application != kApplicationId || *version < kSchemaVersion) {
    return absl::DataLossError(
        absl::StrCat(options_.path, ": the file's header says application_id ", *application,
                     " and user_version ", *version, ", which no vmeventd has written"));
  }
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path, ": the journal has schema version ", *version,
                     ", this vmeventd knows versions up to ", kSchemaVersion,
                     "; run the newer vmeventd that wrote it, or name another --state-dir"));
  }
  return absl::OkStatus();
}

absl::Status Journal::CreateIfNew(const Beginning& beginning) {
  const absl::StatusOr<int64_t> tables = QueryInt(&database_, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  if (*tables != 0) return absl::OkStatus();
  const absl::StatusOr<std::string> journal_id = RandomUuid();
  if (!journal_id.ok()) return journal_id.status();
  const absl::StatusOr<std::string> token_key = RandomBytes(32);
  if (!token_key.ok()) return token_key.status();
  absl::Status status = database_.Execute(
      absl::StrCat("BEGIN IMMEDIATE;", kSchema, "PRAGMA user_version = ", kSchemaVersion,
                   "; PRAGMA application_id = ", kApplicationId, ";"));
  if (status.ok()) status = PutMeta(&database_, "journal_id", *journal_id);
  if (status.ok()) status = PutMeta(&database_, "token_key", *token_key);
  if (status.ok() && beginning.after != 0) {
    status = PutMeta(&database_, "begins_after", absl::StrCat(beginning.after));
  }
  if (status.ok() && beginning.deleted_until != absl::InfinitePast()) {
    status = PutMeta(&database_, "deleted_until",
                     absl::StrCat(absl::ToUnixNanos(beginning.deleted_until)));
  }
  if (status.ok()) status = database_.Execute("COMMIT");
  return status;
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
  absl::StatusOr<std::optional<std::string>> after = QueryMeta(&database_, "begins_after");
  if (!after.ok()) return after.status();
  uint64_t begins_after = 0;
  if (after->has_value() && !absl::SimpleAtoi(**after, &begins_after)) {
    return absl::DataLossError(absl::StrCat(options_.path, ": meta's begins_after is no number"));
  }
  const absl::StatusOr<int64_t> newest =
      QueryInt(&database_, "SELECT coalesce(max(sequence), 0) FROM events");
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<int64_t> oldest =
      QueryInt(&database_, "SELECT coalesce(min(sequence), 0) FROM events");
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<int64_t> missing =
      QueryInt(&database_,
               "SELECT coalesce(sum(last - first + 1), 0) FROM holes WHERE first > (SELECT "
               "min(sequence) FROM events)");
  if (!missing.ok()) return missing.status();
  const absl::StatusOr<int64_t> oldest_time =
      QueryInt(&database_, "SELECT observe_time FROM events ORDER BY sequence LIMIT 1");
  if (!oldest_time.ok()) return oldest_time.status();
  const absl::StatusOr<int64_t> latest = QueryInt(
      &database_, "SELECT coalesce(latest_time, observe_time) FROM events ORDER BY sequence DESC");
  if (!latest.ok()) return latest.status();
  if (*newest != 0) latest_time_ = absl::FromUnixNanos(*latest);
  const absl::StatusOr<int64_t> stops = QueryInt(&database_, "SELECT count(*) FROM stops");
  if (!stops.ok()) return stops.status();
  stops_ = *stops;
  newest_ = std::max(static_cast<uint64_t>(*newest), begins_after);
  oldest_ = *oldest == 0 ? newest_ + 1 : static_cast<uint64_t>(*oldest);
  const absl::StatusOr<uint64_t> unbroken_from = BeginOfHoleBefore(oldest_);
  if (!unbroken_from.ok()) return unbroken_from.status();
  unbroken_from_ = *unbroken_from;
  missing_ = *missing;
  oldest_time_ = absl::FromUnixNanos(*oldest_time);
  return absl::OkStatus();
}

absl::Status Journal::PrepareStatements() {
  const struct {
    const char* sql;
    std::unique_ptr<SqliteStatement>* statement;
  } statements[] = {
      {"INSERT INTO events(sequence, observe_time, vm_name, run_id, type, class, payload, checksum,"
       " latest_time) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
       &insert_event_},
      {"INSERT OR REPLACE INTO sessions(run_id, payload, last_sequence, checksum)"
       " VALUES(?, ?, ?, ?)",
       &put_session_},
      {"DELETE FROM sessions WHERE run_id = ?", &delete_session_},
      {"INSERT OR REPLACE INTO stops(sequence, vm, checksum) VALUES(?, ?, ?)", &insert_stop_},
      {"DELETE FROM stops WHERE sequence = (SELECT min(sequence) FROM stops)", &delete_stop_},
      {"SELECT sequence, observe_time FROM events WHERE sequence >= ? ORDER BY sequence",
       &times_from_},
      {"INSERT OR REPLACE INTO meta(key, value) VALUES('deleted_until', ?)", &put_deleted_until_},
      {"DELETE FROM events WHERE sequence < ?", &delete_events_},
      {"INSERT OR REPLACE INTO holes(first, last) VALUES(?, ?)", &insert_hole_},
      {"SELECT coalesce(sum(last - first + 1), 0) FROM holes WHERE first > ? AND last < ?",
       &missing_between_},
      {"SELECT first FROM holes WHERE last = ?", &hole_before_},
      {"DELETE FROM holes WHERE last < ?", &delete_holes_},
      {"SELECT sequence, observe_time FROM events WHERE latest_time IS NOT NULL AND sequence > ?"
       " AND observe_time <= ? ORDER BY sequence LIMIT 1",
       &next_in_past_},
  };
  for (const auto& [sql, statement] : statements) {
    absl::StatusOr<SqliteStatement> prepared = database_.Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = std::make_unique<SqliteStatement>(*std::move(prepared));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JournalStop>> Journal::LoadStops() {
  absl::StatusOr<SqliteStatement> statement =
      database_.Prepare("SELECT sequence, vm, checksum FROM stops ORDER BY sequence");
  if (!statement.ok()) return statement.status();
  std::vector<JournalStop> stops;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return stops;
    JournalStop stop{static_cast<uint64_t>(statement->Int(0)), std::string(statement->Bytes(1))};
    if (Checksum(stop) != statement->Int(2)) {
      return absl::DataLossError(
          absl::StrCat(options_.path, ": the checksum of stop ", stop.sequence, " is wrong"));
    }
    stops.push_back(std::move(stop));
  }
}

absl::Status Journal::Transact(const std::function<absl::Status(Bounds*)>& change) {
  const DatabaseUse use(&database_);
  Bounds bounds{newest_,      oldest_,        unbroken_from_, oldest_time_,
                latest_time_, deleted_until_, missing_,       stops_};
  absl::Status status = database_.Execute("BEGIN IMMEDIATE");
  if (status.ok()) status = change(&bounds);
  if (status.ok()) status = database_.Execute("COMMIT");
  // What was committed to files that nobody finds again is not kept.
  if (status.ok()) status = CheckInPlace();
  if (!status.ok()) {
    // Where this fails as well the connection has rolled back by itself.
    if (database_.in_transaction()) database_.Execute("ROLLBACK").IgnoreError();
    return status;
  }
  newest_ = bounds.newest;
  oldest_ = bounds.oldest;
  unbroken_from_ = bounds.unbroken_from;
  oldest_time_ = bounds.oldest_time;
  latest_time_ = bounds.latest_time;
  deleted_until_ = bounds.deleted_until;
  missing_ = bounds.missing;
  stops_ = bounds.stops;
  return absl::OkStatus();
}

absl::Status Journal::Append(const Batch& batch, absl::Time now) {
  return Transact([&](Bounds* bounds) {
    absl::Status status = Insert(batch, bounds);
    if (!status.ok()) return status;
    return DeleteOld(now, 2 * static_cast<int64_t>(batch.events.size()), bounds);
  });
}

absl::Status Journal::Insert(const Batch& batch, Bounds* bounds) {
  for (const JournalEvent& event : batch.events) {
    // What is missing was given up, and not lost later.
    if (event.sequence != bounds->newest + 1) {
      absl::Status status = insert_hole_->Bind(1, static_cast<int64_t>(bounds->newest + 1))
                                .Bind(2, static_cast<int64_t>(event.sequence) - 1)
                                .Run();
      if (!status.ok()) return status;
      if (bounds->newest >= bounds->oldest) {
        bounds->missing += static_cast<int64_t>(event.sequence - bounds->newest - 1);
      }
    }
    if (bounds->newest < bounds->oldest) {
      bounds->oldest = event.sequence;  // unbroken_from is newest + 1 still
      bounds->oldest_time = event.observe_time;
    }
    bounds->newest = event.sequence;
    bounds->latest_time = std::max(bounds->latest_time, event.observe_time);
    if (event.observe_time <
        bounds->latest_time) {  // otherwise it says the same, and takes no room
      insert_event_->Bind(9, absl::ToUnixNanos(bounds->latest_time));
    }
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
                                    .Bind(3, static_cast<int64_t>(session.last_sequence))
                                    .Bind(4, Checksum(session))
                                    .Run();
    if (!status.ok()) return status;
  }
  for (const JournalStop& stop : batch.stops) {
    absl::Status status = insert_stop_->Bind(1, static_cast<int64_t>(stop.sequence))
                              .BindBlob(2, stop.vm)
                              .Bind(3, Checksum(stop))
                              .Run();
    if (status.ok() && ++bounds->stops > kMaxStops) {
      --bounds->stops;
      status = delete_stop_->Run();
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::pair<int64_t, int64_t>>> Journal::NextInPast(int64_t sequence,
                                                                               int64_t now) {
  const StatementUse use(next_in_past_.get());
  next_in_past_->Bind(1, sequence).Bind(2, now);
  absl::StatusOr<bool> row = next_in_past_->Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::nullopt;
  return std::pair(next_in_past_->Int(0), next_in_past_->Int(1));
}

absl::Status Journal::DeleteOld(absl::Time now, int64_t max_rows, Bounds* bounds) {
  const int64_t present = absl::ToUnixNanos(now);
  const int64_t cutoff = absl::ToUnixNanos(now - options_.retention_age);
  const auto newest = static_cast<int64_t>(bounds->newest);
  const auto oldest = static_cast<int64_t>(bounds->oldest);
  const int64_t excess = newest - oldest + 1 - bounds->missing - options_.retention_events;

  // The clock may have been set back, so only old events at the beginning go.
  int64_t until = oldest;
  absl::Time latest = bounds->deleted_until;
  absl::Time until_time = bounds->oldest_time;
  std::optional<std::pair<int64_t, int64_t>> in_past = std::pair(oldest - 1, present);
  {
    const StatementUse use(times_from_.get());
    times_from_->Bind(1, until);
    for (int64_t rows = 0;; ++rows) {
      absl::StatusOr<bool> row = times_from_->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      until = times_from_->Int(0);  // what stays begins here
      int64_t time = times_from_->Int(1);
      until_time = absl::FromUnixNanos(time);
      if (time > present) {
        if (in_past.has_value() && in_past->first < until) {
          auto next = NextInPast(until, present);
          if (!next.ok()) return next.status();
          in_past = *next;
        }
        if (in_past.has_value()) time = in_past->second;
      }
      if (rows == max_rows || until == newest || (rows >= excess && time >= cutoff)) break;
      latest = std::max(latest, absl::FromUnixNanos(time));
    }
  }
  if (until == oldest) return absl::OkStatus();

  absl::Status status =
      put_deleted_until_->BindText(1, absl::StrCat(absl::ToUnixNanos(latest))).Run();
  if (status.ok()) status = delete_events_->Bind(1, until).Run();
  if (status.ok()) status = DeleteHolesBefore(static_cast<uint64_t>(until), bounds);
  bounds->oldest = static_cast<uint64_t>(until);
  bounds->oldest_time = until_time;
  bounds->deleted_until = latest;
  return status;
}

absl::Status Journal::DeleteHolesBefore(uint64_t oldest, Bounds* bounds) {
  if (bounds->missing == 0 && bounds->unbroken_from == bounds->oldest) {
    bounds->unbroken_from = oldest;
    return absl::OkStatus();
  }
  {
    // The hole that ends before the oldest event does not count as missing.
    const StatementUse use(missing_between_.get());
    missing_between_->Bind(1, static_cast<int64_t>(bounds->oldest))
        .Bind(2, static_cast<int64_t>(oldest));
    absl::StatusOr<bool> row = missing_between_->Step();
    if (!row.ok()) return row.status();
    bounds->missing -= missing_between_->Int(0);
  }
  const absl::StatusOr<uint64_t> begin = BeginOfHoleBefore(oldest);
  if (!begin.ok()) return begin.status();
  bounds->unbroken_from = *begin;
  return delete_holes_->Bind(1, static_cast<int64_t>(*begin)).Run();
}

absl::StatusOr<uint64_t> Journal::BeginOfHoleBefore(uint64_t sequence) {
  const StatementUse use(hole_before_.get());
  hole_before_->Bind(1, static_cast<int64_t>(sequence) - 1);
  absl::StatusOr<bool> row = hole_before_->Step();
  if (!row.ok()) return row.status();
  return *row ? static_cast<uint64_t>(hole_before_->Int(0)) : sequence;
}

absl::StatusOr<bool> Journal::RetainStep(absl::Time now) {
  const uint64_t before = oldest_;
  absl::Status status =
      Transact([&](Bounds* bounds) { return DeleteOld(now, kRetainRows, bounds); });
  if (!status.ok()) return status;
  return oldest_ >= before + kRetainRows;
}

}  // namespace vmeventd
