#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace vmeventd {

class SqliteStatement;

// One connection to one database file. Errors name the file and what SQLite says of it:
//   DATA_LOSS          the file is corrupt, or no database
//   UNAVAILABLE        it cannot be opened, written or read just now: disk full, I/O error, busy,
//                      no descriptor left, no right to; see IsReadError too
//   INTERNAL           anything else
// One thread at a time.
class SqliteDatabase {
 public:
  // `flags` as sqlite3_open_v2 takes them.
  static absl::StatusOr<SqliteDatabase> Open(const std::string& path, int flags);

  // Runs one or more statements without results.
  absl::Status Execute(const std::string& sql);
  // The statement must not outlive the connection.
  absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql);
  // Leaves the write-ahead log's files, with their room on the disk, when the connection is closed:
  // on a full disk they could not be made again, and a log that grows costs each commit more. What
  // was in the log is in the database then, and zeros in its place.
  absl::Status KeepLogFile();
  // Leaves the files as they are when the connection is closed.
  void LeaveFilesAlone();
  // Returns whether a transaction is open: SQLite rolls back by itself after some errors.
  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

  // Status for `code`, just returned for this connection.
  absl::Status ToStatus(int code, absl::string_view doing) const;

 private:
  struct Close {
    std::string kept_log;  // its path; empty: none is kept
    void operator()(sqlite3* db) const;
  };
  SqliteDatabase(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}

  std::string path_;
  std::unique_ptr<sqlite3, Close> db_;
};

// A prepared statement, for use again and again: bind, step, reset.
class SqliteStatement {
 public:
  SqliteStatement& Bind(int index, int64_t value);
  // The bytes must live until Reset.
  SqliteStatement& BindText(int index, absl::string_view text);
  SqliteStatement& BindBlob(int index, absl::string_view bytes);

  // True: a row is there to read. False: done.
  absl::StatusOr<bool> Step();
  // Step for a statement without results, and Reset.
  absl::Status Run();
  void Reset();

  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  // Lives until the next Step or Reset.
  absl::string_view Bytes(int column) const;

 private:
  friend class SqliteDatabase;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  SqliteStatement(std::string path, sqlite3_stmt* statement)
      : path_(std::move(path)), statement_(statement) {}

  std::string path_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = SQLITE_OK;
};

// One of several statements that an object prepares when it is made.
struct StatementToPrepare {
  std::string sql;
  std::unique_ptr<SqliteStatement>* statement;
};
absl::Status PrepareAll(SqliteDatabase* database, absl::Span<const StatementToPrepare> statements);

// One view of the database for all that is read while this lives, whatever is committed meanwhile.
// Within another one it adds nothing.
class ReadSnapshot {
 public:
  explicit ReadSnapshot(SqliteDatabase* database)
      : database_(database->in_transaction() ? nullptr : database) {
    if (database_ == nullptr) return;
    status_ = database_->Execute("BEGIN");
  }
  ~ReadSnapshot() {
    // Nothing was written: a failure here was reported before, where it was read.
    if (database_ != nullptr && status_.ok()) database_->Execute("COMMIT").IgnoreError();
  }
  ReadSnapshot(const ReadSnapshot&) = delete;
  ReadSnapshot& operator=(const ReadSnapshot&) = delete;

  const absl::Status& status() const { return status_; }

 private:
  SqliteDatabase* const database_;  // null: within another one
  absl::Status status_;
};

// Resets a statement where its use ends, however that is: one that stands at a row holds the log.
class StatementUse {
 public:
  explicit StatementUse(SqliteStatement* statement) : statement_(statement) {}
  ~StatementUse() { statement_->Reset(); }
  StatementUse(const StatementUse&) = delete;
  StatementUse& operator=(const StatementUse&) = delete;

 private:
  SqliteStatement* const statement_;
};

}  // namespace vmeventd
