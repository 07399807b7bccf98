#ifndef VMEVENTD_SERVER_JOURNAL_RETENTION_H_
#define VMEVENTD_SERVER_JOURNAL_RETENTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/journal/bounds.h"
#include "server/journal/sqlite.h"

namespace vmeventd {

// Limits of a journal.
struct RetentionLimits {
  absl::Duration age;
  int64_t events = 0;
};

// Deletes a journal's oldest events, within a transaction of its writer. An event whose time is in
// the future was given it by a clock that was ahead: it is as old as the first event behind it that
// is not. The newest event stays. The writer's thread.
class Retention {
 public:
  // `database` outlives it.
  static absl::StatusOr<Retention> Create(SqliteDatabase* database, RetentionLimits limits);

  // Deletes at most `max_rows` events, and moves `bounds` on.
  absl::Status DeleteOld(absl::Time now, int64_t max_rows, JournalBounds* bounds);

 private:
  explicit Retention(SqliteDatabase* database, RetentionLimits limits)
      : database_(database), limits_(limits) {}

  // When the first event behind `sequence` whose time is not after `now` was observed, and which it
  // is; nothing: there is none.
  absl::StatusOr<std::optional<std::pair<int64_t, int64_t>>> NextInPast(int64_t sequence,
                                                                        int64_t now);
  // Deletes the holes before `oldest`, but for the one that ends there: the GAP at `oldest` names
  // it.
  absl::Status DeleteHolesBefore(uint64_t oldest, JournalBounds* bounds);

  SqliteDatabase* database_;
  RetentionLimits limits_;
  std::unique_ptr<SqliteStatement> times_from_;
  std::unique_ptr<SqliteStatement> next_in_past_;
  std::unique_ptr<SqliteStatement> put_deleted_until_;
  std::unique_ptr<SqliteStatement> delete_events_;
  std::unique_ptr<SqliteStatement> missing_between_;
  std::unique_ptr<SqliteStatement> delete_holes_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_RETENTION_H_
