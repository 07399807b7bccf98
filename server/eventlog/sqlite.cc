#include "server/eventlog/sqlite.h"

#include "base/clock.h"

namespace vmeventd {

absl::Status CheckDatabase(const std::string& path, const absl::Status& damage) try {
  SqliteDatabase database(path);
  constexpr int kSteps = 10'000;  // of SQLite's machine, between two looks at the time
  absl::Time end = SteadyNow() + kMaxCheck;
  sqlite3_progress_handler(
      database.getHandle(), kSteps,
      [](void* until) { return SteadyNow() > *static_cast<absl::Time*>(until) ? 1 : 0; }, &end);
  SqliteQuery check(database, "PRAGMA quick_check(1)");
  if (check.Next() && check.Bytes(0) == "ok") {
    return absl::UnavailableError(
        absl::StrCat(damage.message(), "; the file passes a check and is opened again"));
  }
  return absl::DataLossError(absl::StrCat(damage.message(), ": ", check.Bytes(0)));
} catch (const SQLite::Exception& error) {
  const absl::Status status = SqliteError(path, error);
  const bool cannot_be_read =
      absl::IsUnavailable(status) && error.getErrorCode() != SQLITE_INTERRUPT;
  return cannot_be_read ? status : damage;
}

}  // namespace vmeventd
