#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/eventlog/journal.h"

namespace vmeventd {

int64_t Journal::Excess(const JournalBounds& bounds) const {
  // `newest` is one before `oldest` if there is no event.
  return static_cast<int64_t>(bounds.newest) - static_cast<int64_t>(bounds.oldest) + 1 -
         bounds.missing - options_.retention_events;
}

absl::Status Journal::DeleteOld(absl::Time now, int64_t max_rows, JournalBounds* bounds) {
  const int64_t present = absl::ToUnixNanos(now);
  const int64_t cutoff = absl::ToUnixNanos(now - options_.retention_age);
  const int64_t excess = Excess(*bounds);

  // The clock may have been set back, so only old events at the beginning go.
  uint64_t until = bounds->oldest;
  absl::Time latest = bounds->deleted_until;
  absl::Time until_time = bounds->oldest_time;
  std::optional<std::pair<uint64_t, int64_t>> in_past = std::pair(until - 1, present);
  {
    BlockQuery blocks(&database_, bounds->oldest);
    bool found = false;
    for (int64_t rows = 0; !found;) {
      const StoredBlock* const block = blocks.NextBlock();
      if (block == nullptr) break;
      for (uint64_t at = std::max(block->first(), bounds->oldest); at <= block->last(); ++at) {
        until = at;  // the first that stays
        until_time = block->TimeOf(at);
        int64_t time = absl::ToUnixNanos(until_time);
        if (time > present) {
          if (in_past.has_value() && in_past->first < until) {
            auto next = NextInPast(until, present);
            if (!next.ok()) return next.status();
            in_past = *next;
          }
          if (in_past.has_value()) time = in_past->second;
        }
        found = rows == max_rows || until == bounds->newest || (rows >= excess && time >= cutoff);
        if (found) break;
        latest = std::max(latest, absl::FromUnixNanos(time));
        ++rows;
      }
    }
    if (!blocks.status().ok()) return blocks.status();
  }
  if (until == bounds->oldest) return absl::OkStatus();

  absl::Status status =
      PutMeta(&database_, "deleted_until", absl::StrCat(absl::ToUnixNanos(latest)));
  if (status.ok()) status = PutMeta(&database_, "retained_from", absl::StrCat(until));
  if (status.ok()) {
    status = SqliteQuery(&database_, "DELETE FROM blocks WHERE last < ?").Bind(until).Run();
  }
  if (status.ok()) status = DeleteHolesBefore(until, bounds);
  bounds->oldest = until;
  bounds->oldest_time = until_time;
  bounds->deleted_until = latest;
  return status;
}

absl::StatusOr<std::optional<std::pair<uint64_t, int64_t>>> Journal::NextInPast(uint64_t sequence,
                                                                                int64_t now) {
  BlockQuery blocks(&database_, "WHERE last > ? AND earliest_time <= ? ORDER BY last");
  blocks.Bind(sequence).Bind(now);
  while (const StoredBlock* const block = blocks.NextBlock()) {
    for (uint64_t at = std::max(block->first(), sequence + 1); at <= block->last(); ++at) {
      const int64_t time = absl::ToUnixNanos(block->TimeOf(at));
      if (time <= now) return std::pair(at, time);
    }
  }
  if (!blocks.status().ok()) return blocks.status();
  return std::nullopt;
}

absl::Status Journal::DeleteHolesBefore(uint64_t oldest, JournalBounds* bounds) {
  if (bounds->missing == 0 && bounds->unbroken_from == bounds->oldest) {
    bounds->unbroken_from = oldest;
    return absl::OkStatus();
  }
  // The hole that ends before the oldest event does not count as missing.
  const absl::StatusOr<uint64_t> missing =
      SqliteQuery(&database_,
                  "SELECT sum(last - first + 1) FROM holes WHERE first > ? AND last < ?")
          .Bind(bounds->oldest)
          .Bind(oldest)
          .Number();
  if (!missing.ok()) return missing.status();
  bounds->missing -= static_cast<int64_t>(*missing);
  const absl::StatusOr<uint64_t> begin = BeginOfHoleBefore(&database_, oldest);
  if (!begin.ok()) return begin.status();
  bounds->unbroken_from = *begin;
  return SqliteQuery(&database_, "DELETE FROM holes WHERE last < ?").Bind(*begin).Run();
}

}  // namespace vmeventd
