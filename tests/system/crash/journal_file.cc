#include "tests/system/crash/journal_file.h"

#include <sqlite3.h>

#include <functional>
#include <memory>

#include "tests/support/wait.h"

namespace vmeventd::crash {
namespace {

using Database = std::unique_ptr<sqlite3, decltype(&sqlite3_close)>;

Database Open(const std::string& path) {
  sqlite3* database = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READONLY, nullptr);
  Database owner(database, &sqlite3_close);
  if (result != SQLITE_OK) e2e::Fail(path + ": " + sqlite3_errmsg(database));
  return owner;
}

void ForEachRow(sqlite3* database, const char* sql,
                const std::function<void(sqlite3_stmt*)>& visit) {
  sqlite3_stmt* prepared = nullptr;
  if (sqlite3_prepare_v2(database, sql, -1, &prepared, nullptr) != SQLITE_OK) {
    e2e::Fail(sqlite3_errmsg(database));
  }
  const std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> statement(prepared,
                                                                             &sqlite3_finalize);
  int result;
  while ((result = sqlite3_step(prepared)) == SQLITE_ROW) visit(prepared);
  if (result != SQLITE_DONE) e2e::Fail(sqlite3_errmsg(database));
}

std::string Bytes(sqlite3_stmt* row, int column) {
  const void* const bytes = sqlite3_column_blob(row, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(row, column));
  return bytes == nullptr ? "" : std::string(static_cast<const char*>(bytes), size);
}

}  // namespace

void ReadJournalFile(const std::string& path, History* history) {
  const Database database = Open(path);
  ForEachRow(database.get(), "SELECT value FROM meta WHERE key = 'journal_id'",
             [&](sqlite3_stmt* row) { history->journal_id = Bytes(row, 0); });
  int64_t retained_from = 0;
  ForEachRow(database.get(), "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'retained_from'",
             [&](sqlite3_stmt* row) { retained_from = sqlite3_column_int64(row, 0); });
  ForEachRow(database.get(), "SELECT first, last, data FROM blocks ORDER BY last",
             [&](sqlite3_stmt* row) {
               const int64_t first = sqlite3_column_int64(row, 0);
               const auto count = static_cast<size_t>(sqlite3_column_int64(row, 1) - first + 1);
               const std::string data = Bytes(row, 2);
               constexpr size_t kKeyBytes = 14;  // docs/journal.md
               v1::WatchEventsResponse response;
               bool good = data.size() > count * kKeyBytes &&
                           response.ParseFromString(data.substr(count * kKeyBytes)) &&
                           static_cast<size_t>(response.events_size()) == count;
               for (size_t i = 0; good && i < count; ++i) {
                 const v1::Event& event = response.events(static_cast<int>(i));
                 const auto sequence = static_cast<int64_t>(event.sequence());
                 good = sequence == first + static_cast<int64_t>(i);
                 if (sequence >= retained_from) history->journal.push_back(event);
               }
               if (!good) {
                 e2e::Fail("the journal's block from " + std::to_string(first) +
                           " on is not its encoded events");
               }
             });
}

}  // namespace vmeventd::crash
