#ifndef VMEVENTD_SERVER_JOURNAL_SCHEMA_H_
#define VMEVENTD_SERVER_JOURNAL_SCHEMA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/journal/rows.h"
#include "server/journal/sqlite.h"

// The journal's tables and its version, as docs/journal.md describes them.

namespace vmeventd {

// Contents of a new journal.
struct JournalBeginning {
  uint64_t after = 0;  // its first event's sequence is greater
  absl::Time deleted_until = absl::InfinitePast();
  std::vector<JournalSession> sessions;
  std::string replaces;  // where the one is now whose place it took, a line feed, and why; or empty
};

// Whether the database has no tables yet: a new journal gets them a moment after its file.
absl::StatusOr<bool> IsEmpty(SqliteDatabase* database);
// FAILED_PRECONDITION: the database at `path` is another program's, or a newer version's.
// DATA_LOSS: its header says what no vmeventd has written. An empty database is fine.
absl::Status CheckSchema(SqliteDatabase* database, const std::string& path);
// Makes the tables of an empty database; another one is left as it is.
absl::Status CreateSchemaIfNew(SqliteDatabase* database, const JournalBeginning& beginning);
// Adds the indexes that a journal of an earlier version lacks.
absl::Status AddIndexes(SqliteDatabase* database);
// Makes the table `sessions` of an earlier version as it is now, with its rows.
absl::Status GiveSessionsRowids(SqliteDatabase* database);

// The number that the first row of `sql` begins with; 0 if there is no row.
absl::StatusOr<int64_t> QueryInt(SqliteDatabase* database, absl::string_view sql);
// A value of the table `meta`.
absl::StatusOr<std::optional<std::string>> QueryMeta(SqliteDatabase* database,
                                                     absl::string_view key);
absl::Status PutMeta(SqliteDatabase* database, absl::string_view key, absl::string_view value);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_SCHEMA_H_
