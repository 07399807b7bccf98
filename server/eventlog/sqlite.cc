#include "server/eventlog/sqlite.h"

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/clock.h"

namespace vmeventd {
namespace {

// Returns whether a check has only found a page that cannot be read now. SQLite reports this like
// damage, and gives the error's code only in the text.
bool IsUnreadable(absl::string_view found) {
  constexpr absl::string_view kCode = "error code=";
  constexpr int kPrimary = 0xff;
  const size_t at = found.find(kCode);
  if (at == found.npos) return false;
  absl::string_view digits = found.substr(at + kCode.size());
  digits = digits.substr(0, digits.find_first_not_of("0123456789"));
  int code = 0;
  return absl::SimpleAtoi(digits, &code) && (code & kPrimary) == SQLITE_IOERR;
}

}  // namespace

absl::Status QuickCheck(const std::string& path, const absl::Status& damage) try {
  SqliteDatabase database(path);
  constexpr int kSteps = 10'000;  // of SQLite's machine, between two looks at the time
  absl::Time end = SteadyNow() + kMaxCheck;
  sqlite3_progress_handler(
      database.getHandle(), kSteps,
      [](void* until) { return SteadyNow() > *static_cast<absl::Time*>(until) ? 1 : 0; }, &end);
  SqliteQuery check(database, "PRAGMA quick_check(1)");
  if (check.Next() && check.Bytes(0) == "ok") return absl::OkStatus();
  const absl::string_view found = absl::StripPrefix(check.Bytes(0), "*** in database main ***\n");
  if (IsUnreadable(found)) {
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
