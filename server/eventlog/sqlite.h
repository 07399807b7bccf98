#pragma once

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// One connection to one database file. Errors name the file and have SQLite's message:
//   DATA_LOSS          the file is corrupt, or no database
//   INTERNAL           the statement is wrong, or not for its tables
//   UNAVAILABLE        anything else: disk full, I/O error, busy, no descriptor left, no right to
// After an error it does nothing more, and queries find no rows, until TakeStatus: so a sequence of
// statements is checked once, at its end. One thread at a time.
class SqliteDatabase {
 public:
  // `flags` as sqlite3_open_v2 takes them; it follows no symbolic link.
  static absl::StatusOr<SqliteDatabase> Open(const std::string& path, int flags);

  // Runs one or more statements without results.
  void Execute(const std::string& sql);
  // The first error since the last TakeStatus.
  const absl::Status& status() const { return status_; }
  absl::Status TakeStatus() { return std::exchange(status_, absl::OkStatus()); }
  // `value`, or that error, which it takes.
  template <typename T>
  absl::StatusOr<T> Result(T value) {
    absl::Status status = TakeStatus();
    if (!status.ok()) return status;
    return value;
  }
  // Returns whether a transaction is open: SQLite rolls back by itself after some errors.
  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

 private:
  friend class SqliteQuery;
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;
  SqliteDatabase(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}

  // Records `code`, just returned for this connection, if it is an error and the first.
  void Check(int code, absl::string_view doing);

  std::string path_;
  std::unique_ptr<sqlite3, Close> db_;
  absl::Status status_;
  // Statements by the address of their text; null: in use.
  absl::flat_hash_map<const void*, Statement> cached_;
};

// Bytes that are no text.
struct SqliteBlob {
  absl::string_view bytes;
};

// One use of a statement: bind, step, read. It is reset when the use ends, because a statement at a
// row holds the log.
class SqliteQuery {
 public:
  // Binds `parameters`: numbers, texts and SqliteBlobs, which outlive the use. The connection
  // caches the statement of `sql`, which lives for ever.
  template <typename... Parameters>
  SqliteQuery(SqliteDatabase* database, const char* sql, const Parameters&... parameters)
      : database_(database), cache_key_(sql) {
    Prepare(sql);
    (Bind(parameters), ...);
  }
  // Its statement is not cached.
  SqliteQuery(SqliteDatabase* database, const std::string& sql) : database_(database) {
    Prepare(sql.c_str());
  }
  ~SqliteQuery();
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  // Bind the next parameter.
  void Bind(std::integral auto value) {
    Bound(sqlite3_bind_int64(statement_.get(), ++bound_, static_cast<int64_t>(value)));
  }
  void Bind(absl::string_view text);
  void Bind(SqliteBlob blob);

  // Steps to the next row. False: there are no more.
  bool Next();
  // Next for a statement without results.
  void Run() { Next(); }
  // The first number of the first row; 0 if there is none.
  uint64_t Number() { return Next() ? Uint(0) : 0; }

  // Columns of the row: NULL is 0 or empty. Bytes live until the next step.
  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  absl::string_view Bytes(int column) const;

 private:
  void Prepare(const char* sql);
  // Records `code`, the result of a call that binds.
  void Bound(int code) { database_->Check(code, "bind to a statement"); }

  SqliteDatabase* const database_;
  const char* const cache_key_ = nullptr;  // null: not cached
  SqliteDatabase::Statement statement_;
  int bound_ = 0;  // number of bound parameters
};

// One view of the database for all that is read while this lives, whatever is committed meanwhile.
class ReadSnapshot {
 public:
  explicit ReadSnapshot(SqliteDatabase* database) : database_(database) {
    database_->Execute("BEGIN");
  }
  ~ReadSnapshot() {
    // Nothing was written: a failure was reported before, where it was read.
    database_->TakeStatus().IgnoreError();
    database_->Execute("COMMIT");
    database_->TakeStatus().IgnoreError();
  }
  ReadSnapshot(const ReadSnapshot&) = delete;
  ReadSnapshot& operator=(const ReadSnapshot&) = delete;

 private:
  SqliteDatabase* const database_;
};

}  // namespace vmeventd
