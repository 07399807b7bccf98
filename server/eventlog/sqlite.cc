#include "server/eventlog/sqlite.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {

absl::StatusOr<SqliteDatabase> SqliteDatabase::Open(const std::string& path, int flags) {
  // Its directory may lie behind a link, of which SQLITE_OPEN_NOFOLLOW permits none.
  std::error_code missing;
  std::filesystem::path file(path);
  const std::filesystem::path directory = std::filesystem::canonical(file.parent_path(), missing);
  if (!missing) file = directory / file.filename();
  sqlite3* db = nullptr;
  flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  const int code = sqlite3_open_v2(file.c_str(), &db, flags, nullptr);
  SqliteDatabase database(path, db);
  database.Check(code, "open it");
  if (!database.status().ok()) return database.status();
  sqlite3_extended_result_codes(db, 1);
  // Readers wait for the moments in which the log begins again at its start.
  sqlite3_busy_timeout(db, 2'000);
  return database;
}

void SqliteDatabase::Check(int code, absl::string_view doing) {
  if (code == SQLITE_OK || !status_.ok()) return;
  const char* const reason = db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_.get());
  const std::string message = absl::StrCat(path_, ": cannot ", doing, ": ", reason);
  switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      status_ = absl::DataLossError(message);
      break;
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
      status_ = absl::InternalError(message);
      break;
    default:
      // The file ends within a page, for newer versions of SQLite.
      status_ = code == SQLITE_IOERR_SHORT_READ ? absl::DataLossError(message)
                                                : absl::UnavailableError(message);
  }
}

void SqliteDatabase::Execute(const std::string& sql) {
  if (!status_.ok()) return;
  Check(sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr),
        absl::StrCat("run \"", absl::string_view(sql).substr(0, 40), "\""));
}

void SqliteQuery::Prepare(const char* sql) {
  const auto cached = database_->cached_.find(cache_key_);
  if (cached != database_->cached_.end()) statement_ = std::move(cached->second);
  if (statement_ != nullptr || !database_->status().ok()) return;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(database_->db_.get(), sql, -1,
                                      cache_key_ == nullptr ? 0 : SQLITE_PREPARE_PERSISTENT,
                                      &statement, nullptr);
  statement_.reset(statement);
  database_->Check(code, absl::StrCat("prepare \"", absl::string_view(sql).substr(0, 40), "\""));
}

SqliteQuery::~SqliteQuery() {
  if (cache_key_ == nullptr || statement_ == nullptr) return;
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
  database_->cached_[cache_key_] = std::move(statement_);
}

void SqliteQuery::Bind(absl::string_view text) {
  Bound(sqlite3_bind_text64(statement_.get(), ++bound_, text.data() == nullptr ? "" : text.data(),
                            text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void SqliteQuery::Bind(SqliteBlob blob) {
  const char* const bytes = blob.bytes.data() == nullptr ? "" : blob.bytes.data();
  Bound(sqlite3_bind_blob64(statement_.get(), ++bound_, bytes, blob.bytes.size(), SQLITE_STATIC));
}

bool SqliteQuery::Next() {
  if (!database_->status().ok()) return false;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_->Check(code, "run a statement");
  return false;
}

absl::string_view SqliteQuery::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr) return {};
  return {static_cast<const char*>(bytes), static_cast<size_t>(size)};
}

}  // namespace vmeventd
