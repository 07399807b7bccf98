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
  ForEachRow(database.get(), "SELECT event, ref, sequence FROM events ORDER BY sequence",
             [&](sqlite3_stmt* row) {
               v1::Event event;
               if (!event.ParseFromString(Bytes(row, 0)) ||
                   static_cast<int64_t>(event.sequence()) != sqlite3_column_int64(row, 2)) {
                 e2e::Fail("the journal's row " + Bytes(row, 2) + " is not its event");
               }
               if (const std::string ref = Bytes(row, 1); !ref.empty()) {
                 event.mutable_vm()->ParseFromString(ref);
               }
               event.set_durable(true);
               history->journal.push_back(event);
             });
}

}  // namespace vmeventd::crash
