#include "server/eventlog/journal_rows.h"

#include "absl/time/time.h"

namespace vmeventd {

std::optional<std::string> QueryMeta(SqliteDatabase& database, const char* key) {
  SqliteQuery row(database, "SELECT value FROM meta WHERE key = ?", key);
  if (!row.Next()) return std::nullopt;
  return std::string(row.Bytes(0));
}

uint64_t QueryMetaNumber(SqliteDatabase& database, const char* key) {
  return SqliteQuery(database, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?", key)
      .Number();
}

EventRecord RecordOfRow(const SqliteQuery& row) {
  return {.sequence = row.Uint(0),
          .type = static_cast<v1::EventType>(row.Int(2)),
          .shutdown_class = static_cast<v1::ShutdownClass>(row.Int(3)),
          .observe_time = absl::FromUnixNanos(row.Int(1)),
          .since = absl::FromUnixNanos(row.Int(6)),
          .event = row.Bytes(4),
          .vm_ref = row.Bytes(5)};
}

}  // namespace vmeventd
