#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// An error of the database at `path`, which the message names:
//   DATA_LOSS          the file is corrupt, or no database
//   INTERNAL           the statement is wrong, or not for its tables
//   UNAVAILABLE        anything else: disk full, I/O error, busy, no descriptor left, no right to
inline absl::Status SqliteError(absl::string_view path, const SQLite::Exception& error) {
  const std::string message = absl::StrCat(path, ": ", error.what());
  switch (error.getErrorCode() & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
      return absl::InternalError(message);
    default:
      // The file ends within a page, for newer versions of SQLite.
      return error.getExtendedErrorCode() == SQLITE_IOERR_SHORT_READ
                 ? absl::DataLossError(message)
                 : absl::UnavailableError(message);
  }
}

// One connection to one database file. Failures throw SQLite::Exception. Used by one thread at a
// time.
class SqliteDatabase : public SQLite::Database {
 public:
  // Follows symbolic links only up to the file's directory.
  explicit SqliteDatabase(const std::string& path, int flags = SQLite::OPEN_READWRITE)
      : Database(WithoutLinks(path), flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, kBusyMs) {}
  // Returns the cached statement of `sql`, a text that is never freed.
  SQLite::Statement& Prepared(const char* sql) {
    return prepared_.try_emplace(sql, *this, sql).first->second;
  }

 private:
  // Readers wait while the write-ahead log restarts from its beginning.
  static constexpr int kBusyMs = 1'500;
  static std::string WithoutLinks(const std::filesystem::path& file) {
    std::error_code missing;
    const auto directory = std::filesystem::canonical(file.parent_path(), missing);
    return missing ? file : directory / file.filename();
  }

  std::unordered_map<const char*, SQLite::Statement> prepared_;
};

// One use of a statement: bind, step, read. The statement is reset when the use ends, because an
// active one blocks the restart of the write-ahead log.
class SqliteQuery {
 public:
  // Binds `parameters`: numbers, texts, and blobs as views, which outlive the use.
  template <typename... Parameters>
  explicit SqliteQuery(SQLite::Statement& statement, const Parameters&... parameters)
      : statement_(statement) {
    (Bind(parameters), ...);
  }
  // The same, with a cached statement.
  template <typename... Parameters>
  SqliteQuery(SqliteDatabase& database, const char* sql, const Parameters&... parameters)
      : SqliteQuery(database.Prepared(sql), parameters...) {}
  ~SqliteQuery() { statement_.tryReset(); }
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  // Bind the next parameter.
  void Bind(std::integral auto value) { statement_.bind(++bound_, static_cast<int64_t>(value)); }
  void Bind(const std::string& text) { statement_.bindNoCopy(++bound_, text); }
  void Bind(const char* text) { statement_.bindNoCopy(++bound_, text); }
  void Bind(absl::string_view blob) {
    const void* const begin = blob.data() == nullptr ? "" : blob.data();
    statement_.bindNoCopy(++bound_, begin, static_cast<int>(blob.size()));
  }

  // Steps to the next row. False: there are no more.
  bool Next() { return statement_.executeStep(); }
  // Next for a statement without results.
  void Run() { Next(); }
  // The first number of the first row; 0 if there is none.
  uint64_t Number() { return Next() ? Uint(0) : 0; }

  // Columns of the row: NULL is 0 or empty. Bytes live until the next step.
  bool IsNull(int column) const { return statement_.getColumn(column).isNull(); }
  int64_t Int(int column) const { return statement_.getColumn(column).getInt64(); }
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  absl::string_view Bytes(int column) const {
    const SQLite::Column bytes = statement_.getColumn(column);
    const auto* const begin = static_cast<const char*>(bytes.getBlob());
    return {begin, static_cast<size_t>(bytes.getBytes())};
  }

 private:
  SQLite::Statement& statement_;
  int bound_ = 0;  // number of bound parameters
};

}  // namespace vmeventd
