#include "server/eventlog/database_check.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "server/eventlog/sqlite.h"

namespace vmeventd {
namespace {

// Returns whether a part of the database's files cannot be read now. A check reports this like
// damage.
bool IsUnreadable(const SqliteDatabase& database, absl::Time end) {
  for (const int kind : {SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER}) {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database.getHandle(), "main", kind, &file);
    if (file == nullptr || file->pMethods == nullptr) continue;  // there is no -wal file
    sqlite3_int64 size = 0;
    constexpr int kPiece = 1 << 20;
    std::string piece(kPiece, '\0');
    int code = file->pMethods->xFileSize(file, &size);
    for (sqlite3_int64 at = 0; code == SQLITE_OK && at < size; at += kPiece) {
      if (SteadyNow() > end) return false;
      const int length = static_cast<int>(std::min<sqlite3_int64>(kPiece, size - at));
      code = file->pMethods->xRead(file, piece.data(), length, at);
    }
    constexpr int kPrimary = 0xff;
    if ((code & kPrimary) == SQLITE_IOERR && code != SQLITE_IOERR_SHORT_READ) return true;
  }
  return false;
}

}  // namespace

absl::Status QuickCheck(const std::string& path, const absl::Status& damage) try {
  SqliteDatabase database(path);
  constexpr int kSteps = 10'000;  // steps of SQLite's machine between two checks of the time
  absl::Time end = SteadyNow() + kMaxCheck;
  sqlite3_progress_handler(
      database.getHandle(), kSteps,
      [](void* until) { return SteadyNow() > *static_cast<absl::Time*>(until) ? 1 : 0; }, &end);
  SqliteQuery check(database, "PRAGMA quick_check(1)");
  if (check.Next() && check.Bytes(0) == "ok") return absl::OkStatus();
  const std::string found = absl::StrReplaceAll(check.Bytes(0), {{"\n", " "}});
  if (IsUnreadable(database, end)) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot be read: ", found));
  }
  return absl::DataLossError(absl::StrCat(damage.message(), ": ", found));
} catch (const SQLite::Exception& error) {
  const absl::Status status = SqliteError(path, error);
  const bool cannot_be_read =
      absl::IsUnavailable(status) && error.getErrorCode() != SQLITE_INTERRUPT;
  return cannot_be_read ? status : damage;
}

absl::Status CheckDatabase(const std::string& path, const absl::Status& damage) {
  absl::Status found = QuickCheck(path, damage);
  if (!found.ok()) return found;
  return absl::UnavailableError(
      absl::StrCat(damage.message(), "; the file passes a check and is opened again"));
}

}  // namespace vmeventd
