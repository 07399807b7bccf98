#include "server/eventlog/sqlite.h"

#include <sqlite3.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// The file's directory may lie behind a link, of which SQLITE_OPEN_NOFOLLOW permits none.
std::string WithoutLinks(const std::filesystem::path& file) {
  std::error_code missing;
  const std::filesystem::path directory = std::filesystem::canonical(file.parent_path(), missing);
  return missing ? file : directory / file.filename();
}

// Readers wait for the moments in which the log begins again at its start.
constexpr int kBusyMs = 2'000;

}  // namespace

absl::Status SqliteError(absl::string_view path, const SQLite::Exception& error) {
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

SqliteDatabase::SqliteDatabase(const std::string& path, int flags)
    : Database(WithoutLinks(path), flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, kBusyMs) {}

}  // namespace vmeventd
