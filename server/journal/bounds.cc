#include "server/journal/bounds.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/journal/schema.h"

namespace vmeventd {

absl::StatusOr<JournalBounds> ReadBounds(SqliteDatabase* database, const std::string& path) {
  JournalBounds bounds;
  absl::StatusOr<std::optional<std::string>> deleted = QueryMeta(database, "deleted_until");
  if (!deleted.ok()) return deleted.status();
  int64_t deleted_ns = 0;
  if (deleted->has_value() && absl::SimpleAtoi(**deleted, &deleted_ns)) {
    bounds.deleted_until = absl::FromUnixNanos(deleted_ns);
  }
  absl::StatusOr<std::optional<std::string>> after = QueryMeta(database, "begins_after");
  if (!after.ok()) return after.status();
  uint64_t begins_after = 0;
  if (after->has_value() && !absl::SimpleAtoi(**after, &begins_after)) {
    return absl::DataLossError(absl::StrCat(path, ": meta's begins_after is no number"));
  }
  const absl::StatusOr<int64_t> newest =
      QueryInt(database, "SELECT coalesce(max(sequence), 0) FROM events");
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<int64_t> oldest =
      QueryInt(database, "SELECT coalesce(min(sequence), 0) FROM events");
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<int64_t> missing =
      QueryInt(database,
               "SELECT coalesce(sum(last - first + 1), 0) FROM holes WHERE first > (SELECT "
               "min(sequence) FROM events)");
  if (!missing.ok()) return missing.status();
  const absl::StatusOr<int64_t> oldest_time =
      QueryInt(database, "SELECT observe_time FROM events ORDER BY sequence LIMIT 1");
  if (!oldest_time.ok()) return oldest_time.status();
  const absl::StatusOr<int64_t> latest = QueryInt(
      database, "SELECT coalesce(latest_time, observe_time) FROM events ORDER BY sequence DESC");
  if (!latest.ok()) return latest.status();
  if (*newest != 0) bounds.latest_time = absl::FromUnixNanos(*latest);
  const absl::StatusOr<int64_t> stops = QueryInt(database, "SELECT count(*) FROM stops");
  if (!stops.ok()) return stops.status();
  bounds.stops = *stops;
  bounds.newest = std::max(static_cast<uint64_t>(*newest), begins_after);
  bounds.oldest = *oldest == 0 ? bounds.newest + 1 : static_cast<uint64_t>(*oldest);
  const absl::StatusOr<uint64_t> unbroken_from = BeginOfHoleBefore(database, bounds.oldest);
  if (!unbroken_from.ok()) return unbroken_from.status();
  bounds.unbroken_from = *unbroken_from;
  bounds.missing = *missing;
  bounds.oldest_time = absl::FromUnixNanos(*oldest_time);
  return bounds;
}

absl::StatusOr<uint64_t> BeginOfHoleBefore(SqliteDatabase* database, uint64_t sequence) {
  absl::StatusOr<SqliteStatement> hole =
      database->Prepare("SELECT first FROM holes WHERE last = ?");
  if (!hole.ok()) return hole.status();
  hole->Bind(1, static_cast<int64_t>(sequence) - 1);
  absl::StatusOr<bool> row = hole->Step();
  if (!row.ok()) return row.status();
  return *row ? static_cast<uint64_t>(hole->Int(0)) : sequence;
}

}  // namespace vmeventd
