#ifndef VMEVENTD_SERVER_SQLITE_H_
#define VMEVENTD_SERVER_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

class SqliteStatement;

// One connection to one database file. Errors name the file and what SQLite says of it:
//   DATA_LOSS          the file is corrupt, or no database
//   UNAVAILABLE        it cannot be written or read just now: disk full, I/O error, busy
//   PERMISSION_DENIED  it may not be opened or written
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
  // Makes `predicate` a function of one text in the connection's SQL. It outlives the connection.
  absl::Status AddPredicate(const char* name,
                            const std::function<bool(absl::string_view)>* predicate);
  // Leaves the write-ahead log's files, with their room on the disk, when the connection is closed:
  // on a full disk they could not be made again.
  absl::Status KeepLogFile();
  // Whether a transaction is open: SQLite rolls back by itself after some errors.
  bool in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

  // What `code`, just returned for this connection, means.
  absl::Status ToStatus(int code, absl::string_view doing) const;

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
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
  bool IsNull(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }
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

#endif  // VMEVENTD_SERVER_SQLITE_H_
