#include "server/eventlog/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "server/eventlog/unreadable.h"

namespace vmeventd {
namespace {

absl::Status StatusOf(int code, const char* said, const std::string& path,
                      absl::string_view doing) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return absl::OkStatus();
  const std::string message = absl::StrCat(path, ": cannot ", doing, ": ", said);
  switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_IOERR:
      if (code == SQLITE_IOERR_READ || code == SQLITE_IOERR_CORRUPTFS) {
        absl::Status status = absl::UnavailableError(message);
        MarkReadError(&status);
        return status;
      }
      return absl::UnavailableError(message);
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

absl::StatusOr<SqliteDatabase> SqliteDatabase::Open(const std::string& path, int flags) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  SqliteDatabase database(path, db);
  if (code != SQLITE_OK) return database.ToStatus(code, "open it");
  sqlite3_extended_result_codes(db, 1);
  return database;
}

absl::Status SqliteDatabase::ToStatus(int code, absl::string_view doing) const {
  return StatusOf(code, db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_.get()), path_,
                  doing);
}

absl::Status SqliteDatabase::Execute(const std::string& sql) {
  return ToStatus(sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr),
                  absl::StrCat("run \"", absl::string_view(sql).substr(0, 40), "\""));
}

absl::StatusOr<SqliteStatement> SqliteDatabase::Prepare(absl::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) {
    return ToStatus(code, absl::StrCat("prepare \"", sql.substr(0, 40), "\""));
  }
  return SqliteStatement(path_, statement);
}

void SqliteDatabase::Close::operator()(sqlite3* db) const {
  struct stat before {};
  const bool had_log = !kept_log.empty() && stat(kept_log.c_str(), &before) == 0;
  sqlite3_close_v2(db);
  // The last connection merges its log and truncates it to nothing. Another one's is left alone.
  struct stat after {};
  if (!had_log || before.st_size == 0) return;
  const UniqueFd fd(open(kept_log.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.get() < 0 || fstat(fd.get(), &after) != 0) return;
  if (after.st_ino != before.st_ino || after.st_size != 0) return;
  const std::string zeros(size_t{64} << 10, '\0');
  for (off_t at = 0; at < before.st_size;) {
    const size_t size = std::min(zeros.size(), static_cast<size_t>(before.st_size - at));
    const ssize_t written = pwrite(fd.get(), zeros.data(), size, at);
    if (written <= 0) return;  // it will be made again, if there is room
    at += written;
  }
}

absl::Status SqliteDatabase::KeepLogFile() {
  db_.get_deleter().kept_log = path_ + "-wal";
  int keep = 1;
  return ToStatus(sqlite3_file_control(db_.get(), "main", SQLITE_FCNTL_PERSIST_WAL, &keep),
                  "keep its log's file");
}

void SqliteDatabase::LeaveFilesAlone() {
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

SqliteStatement& SqliteStatement::Bind(int index, int64_t value) {
  bind_error_ |= sqlite3_bind_int64(statement_.get(), index, value);
  return *this;
}

SqliteStatement& SqliteStatement::BindText(int index, absl::string_view text) {
  bind_error_ |=
      sqlite3_bind_text64(statement_.get(), index, text.data() == nullptr ? "" : text.data(),
                          text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(int index, absl::string_view bytes) {
  bind_error_ |=
      sqlite3_bind_blob64(statement_.get(), index, bytes.data() == nullptr ? "" : bytes.data(),
                          bytes.size(), SQLITE_STATIC);
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  if (bind_error_ != SQLITE_OK) {
    return absl::InternalError(absl::StrCat(path_, ": cannot bind to a statement"));
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  const absl::Status status =
      StatusOf(code, sqlite3_errmsg(sqlite3_db_handle(statement_.get())), path_, "run a statement");
  Reset();
  return status;
}

absl::Status SqliteStatement::Run() {
  absl::StatusOr<bool> row = Step();
  Reset();
  return row.status();
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  bind_error_ = SQLITE_OK;
}

absl::string_view SqliteStatement::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr) return {};
  return {static_cast<const char*>(bytes), static_cast<size_t>(size)};
}

absl::Status PrepareAll(SqliteDatabase* database, absl::Span<const StatementToPrepare> statements) {
  for (const auto& [sql, statement] : statements) {
    absl::StatusOr<SqliteStatement> prepared = database->Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = std::make_unique<SqliteStatement>(*std::move(prepared));
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
