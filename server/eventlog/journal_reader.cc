#include "server/eventlog/journal_reader.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/unreadable.h"
#include "server/events/event_codec.h"

namespace vmeventd {
namespace {

constexpr size_t kSharedPages = 16;

EventBlock::Entry WithVm(EventBlock::Entry entry, absl::string_view encoded) {
  const VmRefView vm = VmInEventField(encoded);
  entry.vm_name = vm.name;
  entry.run_id = vm.run_id;
  entry.source = vm.source;
  return entry;
}

// The text of a selection of blocks that may have what is looked for. ?1 to ?4: the bounds of
// sequence and time; the hashes of names follow.
std::string SelectSql(const JournalReader::Selection& selection) {
  const NameMatcher& names = selection.matcher->names();
  std::string sql = absl::StrCat(kSelectBlocks,
                                 "WHERE last >= ?1 AND last <= coalesce((SELECT min(last) FROM"
                                 " blocks WHERE last >= ?2), ?2)");
  absl::StrAppend(&sql, " AND earliest_time < ?3 AND latest_time >= ?4");
  if (names.globs().empty() && !names.exact().empty()) {
    // Events of the node as a whole pass every filter. What is found across two hashes is harmless.
    absl::StrAppend(&sql, " AND (instr(names, x'00000000') > 0");
    for (size_t i = 0; i < names.exact().size(); ++i) {
      absl::StrAppend(&sql, " OR instr(names, ?", 5 + i, ") > 0");
    }
    absl::StrAppend(&sql, ")");
  }
  return absl::StrCat(sql, " ORDER BY last", selection.newest_first ? " DESC" : "");
}

}  // namespace

absl::StatusOr<std::unique_ptr<JournalReader>> JournalReader::Open(const std::string& path) {
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return database.status();
  std::unique_ptr<JournalReader> reader(new JournalReader(*std::move(database)));
  const absl::Status status = reader->database_.Execute(
      "PRAGMA busy_timeout = 500; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;");
  if (!status.ok()) return status;
  const absl::StatusOr<bool> empty = IsEmpty(&reader->database_);
  if (!empty.ok()) return empty.status();
  if (*empty) {
    return absl::UnavailableError(absl::StrCat(path, ": the journal is being made; try again"));
  }
  const StatementToPrepare statements[] = {
      {absl::StrCat(kSelectBlocks, "WHERE last >= ? ORDER BY last"), &reader->blocks_from_},
      {kSelectOldest, &reader->oldest_},
      {absl::StrCat("SELECT coalesce((SELECT first FROM holes WHERE last = oldest - 1), oldest)"
                    " FROM (",
                    kSelectOldest, ")"),
       &reader->unbroken_from_},
      // A new journal that goes on after another one's sequences may be empty yet.
      {"SELECT max(coalesce((SELECT max(last) FROM blocks), 0), coalesce((SELECT CAST(value AS"
       " INTEGER) FROM meta WHERE key = 'begins_after'), 0))",
       &reader->newest_},
      {"SELECT max(last) FROM holes WHERE first <= ?", &reader->hole_to_},
      {"SELECT last, latest_time FROM blocks WHERE last >= ? ORDER BY last LIMIT 1",
       &reader->time_at_},
      {"SELECT last FROM blocks WHERE last >= ? AND earliest_time < ? ORDER BY last DESC LIMIT 1",
       &reader->last_early_},
      {"SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'deleted_until'",
       &reader->deleted_until_},
      {"SELECT coalesce(min(earliest_time), ?1) FROM blocks WHERE last > ?2",
       &reader->earliest_behind_},
  };
  if (absl::Status prepared = PrepareAll(&reader->database_, statements); !prepared.ok()) {
    return prepared;
  }
  absl::StatusOr<SqliteStatement> identity =
      reader->database_.Prepare("SELECT value FROM meta WHERE key = 'journal_id'");
  if (!identity.ok()) return identity.status();
  absl::StatusOr<bool> row = identity->Step();
  if (!row.ok()) return row.status();
  if (*row) reader->journal_id_ = std::string(identity->Bytes(0));
  return reader;
}

absl::StatusOr<HistoryAnswer> JournalReader::ReadFrom(uint64_t first, uint64_t last,
                                                      size_t max_bytes) {
  const ReadSnapshot snapshot(&database_);
  if (!snapshot.status().ok()) return snapshot.status();
  HistoryAnswer page;
  page.first = first;
  page.through = first - 1;
  const auto with_place = [&page](absl::Status status) {
    SetReadErrorPlace(absl::StrCat("event ", page.through + 1), &status);
    return status;
  };
  const absl::StatusOr<uint64_t> oldest = Query(oldest_.get());
  if (!oldest.ok()) return with_place(oldest.status());
  EventBlockBuilder builder;
  size_t bytes = 0;
  bool full = false;
  const StatementUse use(blocks_from_.get());
  blocks_from_->Bind(1, static_cast<int64_t>(std::max(first, *oldest)));
  while (!full && page.through < last) {
    absl::StatusOr<bool> row = blocks_from_->Step();
    if (!row.ok()) return with_place(row.status());
    if (!*row) break;
    const absl::StatusOr<StoredBlock> block = ReadBlock(*blocks_from_);
    if (!block.ok()) return with_place(block.status());
    const uint64_t from = std::max({block->first(), page.through + 1, *oldest});
    if (from > last) break;
    // All of it is read again where it does not fit: so a page ends before it, if that has others.
    full = bytes > 0 && bytes + block->bytes() > max_bytes;
    if (full) break;
    const bool follows = from == page.through + 1;
    if (!follows) {
      absl::Status status = CheckMissing(page.through + 1, from - 1);
      if (!status.ok()) return status;
    }
    // A block holds consecutive sequences.
    const bool fits = builder.bytes() + block->bytes() <= EventBlockBuilder::kFullBytes;
    if (!builder.empty() && !(fits && follows)) page.blocks.push_back(builder.Finish());
    const size_t before = builder.bytes();
    page.through =
        block->AppendTo(&builder, from, std::min(block->last(), last), max_bytes - bytes);
    bytes += builder.bytes() - before;
    full = bytes >= max_bytes;
  }
  if (!builder.empty()) page.blocks.push_back(builder.Finish());
  if (full) return page;
  if (page.through < last) {
    if (absl::Status status = CheckMissing(page.through + 1, last); !status.ok()) return status;
  }
  page.through = last;
  return page;
}

absl::StatusOr<HistoryAnswer> JournalReader::ReadSince(absl::Time time, size_t max_bytes) {
  const ReadSnapshot snapshot(&database_);
  if (!snapshot.status().ok()) return snapshot.status();
  const bool from_oldest = time == absl::InfinitePast();
  if (!from_oldest) {
    if (absl::Status status = CheckReaches(time); !status.ok()) return status;
  }
  const absl::StatusOr<uint64_t> first = from_oldest ? Query(oldest_.get()) : FirstSince(time);
  if (!first.ok()) return first.status();
  const absl::StatusOr<uint64_t> newest = Query(newest_.get());
  if (!newest.ok()) return newest.status();
  const uint64_t begin = *first == 0 ? *newest + 1 : *first;
  if (begin > *newest) return HistoryAnswer{begin, {}, begin - 1};
  return ReadShared(begin, *newest, max_bytes);
}

absl::Status JournalReader::CheckReaches(absl::Time time) {
  const int64_t since = absl::ToUnixNanos(time);
  {
    const StatementUse use(deleted_until_.get());
    absl::StatusOr<bool> row = deleted_until_->Step();
    if (!row.ok()) return row.status();
    const bool all_there = !*row || since > deleted_until_->Int(0);
    if (all_there) return absl::OkStatus();
  }
  // The clock may have been set back: an event that is retained is later than one that was deleted,
  // whatever their times say.
  const absl::StatusOr<uint64_t> oldest = Query(oldest_.get());
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<int64_t> earliest = EarliestFrom(*oldest);
  if (!earliest.ok()) return earliest.status();
  if (since >= *earliest) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      "since: ", absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone()), " is too old: ",
      *oldest == 0 ? std::string("no event is retained")
                   : absl::StrCat("the oldest retained sequence is ", *oldest)));
}

absl::StatusOr<int64_t> JournalReader::EarliestFrom(uint64_t oldest) {
  int64_t earliest = INT64_MAX;
  uint64_t last = 0;
  {
    // Only what is retained counts of the first block.
    const StatementUse use(blocks_from_.get());
    blocks_from_->Bind(1, static_cast<int64_t>(oldest));
    absl::StatusOr<bool> row = blocks_from_->Step();
    if (!row.ok()) return row.status();
    if (!*row) return earliest;
    const absl::StatusOr<StoredBlock> block = ReadBlock(*blocks_from_);
    if (!block.ok()) return block.status();
    last = block->last();
    for (uint64_t at = std::max(oldest, block->first()); at <= last; ++at) {
      earliest = std::min(earliest, absl::ToUnixNanos(block->TimeOf(at)));
    }
  }
  const StatementUse use(earliest_behind_.get());
  earliest_behind_->Bind(1, INT64_MAX).Bind(2, static_cast<int64_t>(last));
  absl::StatusOr<bool> row = earliest_behind_->Step();
  if (!row.ok()) return row.status();
  return std::min(earliest, earliest_behind_->Int(0));
}

absl::StatusOr<HistoryAnswer> JournalReader::ReadShared(uint64_t first, uint64_t last,
                                                        size_t max_bytes) {
  for (const SharedPage& shared : shared_) {
    if (shared.page.first == first && shared.max_bytes == max_bytes &&
        shared.page.through <= last) {
      return shared.page;
    }
  }
  absl::StatusOr<HistoryAnswer> page = ReadFrom(first, last, max_bytes);
  if (page.ok() && page->through < last) {  // it ends because it is full: it will stay the same
    if (shared_.size() == kSharedPages) shared_.pop_front();
    shared_.push_back({max_bytes, *page});
  }
  return page;
}

absl::StatusOr<HistoryAnswer> JournalReader::Answer(const HistoryRequest& request,
                                                    size_t max_bytes) {
  if (!request.journal_id.empty() && request.journal_id != journal_id_) {
    return absl::UnavailableError("the journal was replaced");
  }
  if (request.locate.has_value()) return ReadSince(*request.locate, max_bytes);
  return ReadShared(request.first, request.last, max_bytes);
}

absl::Status JournalReader::CheckMissing(uint64_t first, uint64_t last) {
  const absl::StatusOr<uint64_t> oldest = Query(oldest_.get());
  if (!oldest.ok()) return oldest.status();
  // A journal that has just begun; its first event may be committed before the next statement.
  if (*oldest == 0) return absl::OkStatus();
  const absl::StatusOr<uint64_t> unbroken_from = UnbrokenFrom();
  if (!unbroken_from.ok()) return unbroken_from.status();
  if (first < *unbroken_from) {
    return absl::OutOfRangeError(absl::StrCat("sequence ", first,
                                              " is no longer retained: the oldest retained "
                                              "sequence is ",
                                              *oldest));
  }
  const absl::StatusOr<uint64_t> newest = Query(newest_.get());
  if (!newest.ok()) return newest.status();
  if (first > *newest) return absl::OkStatus();
  hole_to_->Bind(1, static_cast<int64_t>(first));
  const absl::StatusOr<uint64_t> hole = Query(hole_to_.get());
  if (!hole.ok()) return hole.status();
  if (*hole >= last) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the journal's events ", first, " to ", last, " are missing"));
}

absl::Status JournalReader::Select(const Selection& selection, const Take& take) {
  const ReadSnapshot snapshot(&database_);
  if (!snapshot.status().ok()) return snapshot.status();
  absl::StatusOr<SqliteStatement> statement = database_.Prepare(SelectSql(selection));
  if (!statement.ok()) return statement.status();
  statement->Bind(1, static_cast<int64_t>(selection.first))
      .Bind(2, static_cast<int64_t>(selection.last))
      .Bind(3, absl::ToUnixNanos(selection.end))
      .Bind(4, absl::ToUnixNanos(selection.start));
  std::vector<std::string> hashes;
  if (selection.matcher->names().globs().empty()) {
    for (const std::string& name : selection.matcher->names().exact()) {
      hashes.push_back(NameHash(name));
    }
  }
  for (size_t i = 0; i < hashes.size(); ++i)
    statement->BindBlob(static_cast<int>(5 + i), hashes[i]);
  const uint64_t types = selection.matcher->types();
  const uint64_t classes = selection.matcher->classes();
  // If all is asked for, all must come.
  const bool all = selection.matcher->matches_all() && selection.start == absl::InfinitePast() &&
                   selection.end == absl::InfiniteFuture();
  uint64_t expected = selection.newest_first ? selection.last : selection.first;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) break;
    const absl::StatusOr<StoredBlock> block = ReadBlock(*statement);
    if (!block.ok()) return block.status();
    const uint64_t from = std::max(block->first(), selection.first);
    const uint64_t to = std::min(block->last(), selection.last);
    if (from > to) continue;
    const uint64_t next = selection.newest_first ? to : from;
    if (all && next != expected) {
      absl::Status status = selection.newest_first ? CheckMissing(next + 1, expected)
                                                   : CheckMissing(expected, next - 1);
      if (!status.ok()) return status;
    }
    const bool has_node_events = block->has_node_events();
    const bool more = block->ForEach(
        from, to, selection.newest_first,
        [&](const EventBlock::Entry& key, absl::string_view encoded) {
          const bool passes = (types == 0 || ((types >> (key.type & 63)) & 1) != 0) &&
                              (classes == 0 || ((classes >> (key.shutdown_class & 63)) & 1) != 0);
          return (!passes && !has_node_events) || take(WithVm(key, encoded), encoded);
        });
    if (!more) return absl::OkStatus();
    expected = selection.newest_first ? from - 1 : to + 1;
  }
  if (all && !selection.newest_first && expected <= selection.last) {
    return CheckMissing(expected, selection.last);
  }
  if (all && selection.newest_first && expected >= selection.first && expected > 0) {
    return CheckMissing(selection.first, expected);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> JournalReader::Query(SqliteStatement* statement) {
  const StatementUse use(statement);
  absl::StatusOr<bool> row = statement->Step();
  if (!row.ok()) return row.status();
  return *row ? static_cast<uint64_t>(statement->Int(0)) : 0;  // NULL reads as 0
}

absl::StatusOr<uint64_t> JournalReader::FirstSince(absl::Time time) {
  const absl::StatusOr<uint64_t> oldest = Query(oldest_.get());
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<uint64_t> newest = Query(newest_.get());
  if (!newest.ok()) return newest.status();
  // The latest time up to each block never falls, and rises to `time` just in that of the first
  // event since then. All blocks before `low` end earlier; `found` does not, if there is one.
  uint64_t low = *oldest;
  uint64_t found = 0;
  for (uint64_t high = *newest + 1; low < high && *newest != 0;) {
    const uint64_t middle = low + (high - low) / 2;
    const StatementUse use(time_at_.get());
    time_at_->Bind(1, static_cast<int64_t>(middle));
    absl::StatusOr<bool> row = time_at_->Step();
    if (!row.ok()) return row.status();
    if (!*row || time_at_->Int(1) >= absl::ToUnixNanos(time)) {
      if (*row) found = static_cast<uint64_t>(time_at_->Int(0));
      high = middle;
    } else {
      low = static_cast<uint64_t>(time_at_->Int(0)) + 1;
    }
  }
  if (found == 0) return 0;
  const StatementUse use(blocks_from_.get());
  blocks_from_->Bind(1, static_cast<int64_t>(found));
  absl::StatusOr<bool> row = blocks_from_->Step();
  if (!row.ok()) return row.status();
  if (!*row) return 0;
  const absl::StatusOr<StoredBlock> block = ReadBlock(*blocks_from_);
  if (!block.ok()) return block.status();
  for (uint64_t at = block->first(); at <= block->last(); ++at) {
    if (block->TimeOf(at) >= time) return std::max(at, *oldest);
  }
  return std::max(block->first(), *oldest);  // what was deleted before it was as late
}

absl::StatusOr<uint64_t> JournalReader::LastBefore(absl::Time time) {
  const absl::StatusOr<uint64_t> newest = Query(newest_.get());
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<uint64_t> since = FirstSince(time);
  if (!since.ok() || *since == 0) return since.ok() ? *newest : since;
  const StatementUse use(last_early_.get());
  last_early_->Bind(1, static_cast<int64_t>(*since)).Bind(2, absl::ToUnixNanos(time));
  const absl::StatusOr<uint64_t> early = Query(last_early_.get());
  if (!early.ok()) return early.status();
  // After the clock stepped back, earlier times may follow in a block, and so they may in the
  // first.
  return std::max(*early, *since - 1);
}

}  // namespace vmeventd
