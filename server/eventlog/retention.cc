#include "server/eventlog/retention.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmeventd {

absl::StatusOr<Retention> Retention::Create(SqliteDatabase* database, RetentionLimits limits) {
  Retention retention(database, limits);
  const StatementToPrepare statements[] = {
      {absl::StrCat(kSelectBlocks, "WHERE last >= ? ORDER BY last"), &retention.blocks_from_},
      {absl::StrCat(kSelectBlocks, "WHERE last > ? AND earliest_time <= ? ORDER BY last"),
       &retention.next_in_past_},
      {"INSERT OR REPLACE INTO meta(key, value) VALUES('deleted_until', ?)",
       &retention.put_deleted_until_},
      {"INSERT OR REPLACE INTO meta(key, value) VALUES('retained_from', ?)",
       &retention.put_retained_from_},
      {"DELETE FROM blocks WHERE last < ?", &retention.delete_blocks_},
      {"SELECT coalesce(sum(last - first + 1), 0) FROM holes WHERE first > ? AND last < ?",
       &retention.missing_between_},
      {"DELETE FROM holes WHERE last < ?", &retention.delete_holes_},
  };
  if (absl::Status status = PrepareAll(database, statements); !status.ok()) return status;
  return retention;
}

absl::StatusOr<std::optional<std::pair<int64_t, int64_t>>> Retention::NextInPast(int64_t sequence,
                                                                                 int64_t now) {
  const StatementUse use(next_in_past_.get());
  next_in_past_->Bind(1, sequence).Bind(2, now);
  while (true) {
    absl::StatusOr<bool> row = next_in_past_->Step();
    if (!row.ok()) return row.status();
    if (!*row) return std::nullopt;
    const absl::StatusOr<StoredBlock> block = ReadBlock(*next_in_past_);
    if (!block.ok()) return block.status();
    for (uint64_t at = std::max(block->first(), static_cast<uint64_t>(sequence) + 1);
         at <= block->last(); ++at) {
      const int64_t time = absl::ToUnixNanos(block->TimeOf(at));
      if (time <= now) return std::pair(static_cast<int64_t>(at), time);
    }
  }
}

int64_t Retention::Excess(const JournalBounds& bounds) const {
  // The newest is one before the oldest where there is none.
  return static_cast<int64_t>(bounds.newest) - static_cast<int64_t>(bounds.oldest) + 1 -
         bounds.missing - limits_.events;
}

absl::Status Retention::DeleteOld(absl::Time now, int64_t max_rows, JournalBounds* bounds) {
  const int64_t present = absl::ToUnixNanos(now);
  const int64_t cutoff = absl::ToUnixNanos(now - limits_.age);
  const auto newest = static_cast<int64_t>(bounds->newest);
  const auto oldest = static_cast<int64_t>(bounds->oldest);
  const int64_t excess = Excess(*bounds);

  // The clock may have been set back, so only old events at the beginning go.
  int64_t until = oldest;
  absl::Time latest = bounds->deleted_until;
  absl::Time until_time = bounds->oldest_time;
  std::optional<std::pair<int64_t, int64_t>> in_past = std::pair(oldest - 1, present);
  {
    const StatementUse use(blocks_from_.get());
    blocks_from_->Bind(1, oldest);
    bool found = false;
    for (int64_t rows = 0; !found;) {
      absl::StatusOr<bool> row = blocks_from_->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      const absl::StatusOr<StoredBlock> block = ReadBlock(*blocks_from_);
      if (!block.ok()) return block.status();
      for (uint64_t at = std::max(block->first(), bounds->oldest); at <= block->last(); ++at) {
        until = static_cast<int64_t>(at);  // the first that stays
        int64_t time = absl::ToUnixNanos(block->TimeOf(at));
        until_time = absl::FromUnixNanos(time);
        if (time > present) {
          if (in_past.has_value() && in_past->first < until) {
            auto next = NextInPast(until, present);
            if (!next.ok()) return next.status();
            in_past = *next;
          }
          if (in_past.has_value()) time = in_past->second;
        }
        found = rows == max_rows || until == newest || (rows >= excess && time >= cutoff);
        if (found) break;
        latest = std::max(latest, absl::FromUnixNanos(time));
        ++rows;
      }
    }
  }
  if (until == oldest) return absl::OkStatus();

  absl::Status status =
      put_deleted_until_->BindText(1, absl::StrCat(absl::ToUnixNanos(latest))).Run();
  if (status.ok()) status = put_retained_from_->BindText(1, absl::StrCat(until)).Run();
  if (status.ok()) status = delete_blocks_->Bind(1, until).Run();
  if (status.ok()) status = DeleteHolesBefore(static_cast<uint64_t>(until), bounds);
  bounds->oldest = static_cast<uint64_t>(until);
  bounds->oldest_time = until_time;
  bounds->deleted_until = latest;
  return status;
}

absl::Status Retention::DeleteHolesBefore(uint64_t oldest, JournalBounds* bounds) {
  if (bounds->missing == 0 && bounds->unbroken_from == bounds->oldest) {
    bounds->unbroken_from = oldest;
    return absl::OkStatus();
  }
  {
    // The hole that ends before the oldest event does not count as missing.
    const StatementUse use(missing_between_.get());
    missing_between_->Bind(1, static_cast<int64_t>(bounds->oldest))
        .Bind(2, static_cast<int64_t>(oldest));
    absl::StatusOr<bool> row = missing_between_->Step();
    if (!row.ok()) return row.status();
    bounds->missing -= missing_between_->Int(0);
  }
  const absl::StatusOr<uint64_t> begin = BeginOfHoleBefore(database_, oldest);
  if (!begin.ok()) return begin.status();
  bounds->unbroken_from = *begin;
  return delete_holes_->Bind(1, static_cast<int64_t>(*begin)).Run();
}

}  // namespace vmeventd
