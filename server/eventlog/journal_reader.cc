#include "server/eventlog/journal_reader.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
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

// Condition of blocks that may contain selected events. ?1 to ?4: the bounds of sequence and time;
// the hashes of names follow.
std::string SelectSql(const JournalReader::Selection& selection) {
  const NameMatcher& names = selection.matcher->names();
  std::string sql =
      "WHERE last >= ?1 AND last <= coalesce((SELECT min(last) FROM blocks WHERE last >= ?2), ?2)"
      " AND earliest_time < ?3 AND latest_time >= ?4";
  if (names.globs().empty() && !names.exact().empty()) {
    // Events of the node as a whole pass every filter. A match across two hashes is harmless.
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
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(path, SQLITE_OPEN_READONLY);
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
  absl::StatusOr<std::optional<std::string>> id = QueryMeta(&reader->database_, "journal_id");
  if (!id.ok()) return id.status();
  reader->journal_id_ = id->value_or("");
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
  const absl::StatusOr<uint64_t> oldest = Oldest();
  if (!oldest.ok()) return with_place(oldest.status());
  EventBlockBuilder builder;
  size_t bytes = 0;
  bool full = false;
  BlockQuery blocks(&database_, std::max(first, *oldest));
  while (!full && page.through < last) {
    const StoredBlock* const block = blocks.NextBlock();
    if (block == nullptr) break;
    const uint64_t from = std::max({block->first(), page.through + 1, *oldest});
    if (from > last) break;
    // A block that does not fit is read again as a whole, so a page ends before it, if it has
    // others.
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
  if (!blocks.status().ok()) return with_place(blocks.status());
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
  const absl::StatusOr<uint64_t> first = from_oldest ? Oldest() : FirstSince(time);
  if (!first.ok()) return first.status();
  const absl::StatusOr<uint64_t> newest = Newest();
  if (!newest.ok()) return newest.status();
  const uint64_t begin = *first == 0 ? *newest + 1 : *first;
  if (begin > *newest) return HistoryAnswer{begin, {}, begin - 1};
  return ReadShared(begin, *newest, max_bytes);
}

absl::Status JournalReader::CheckReaches(absl::Time time) {
  const int64_t since = absl::ToUnixNanos(time);
  {
    SqliteQuery deleted(&database_,
                        "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'deleted_until'");
    const bool some_deleted = deleted.Next() && since <= deleted.Int(0);
    if (!some_deleted) return deleted.status();
  }
  // The clock may have been set back: an event that is retained is later than one that was deleted,
  // whatever their times say.
  const absl::StatusOr<uint64_t> oldest = Oldest();
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
    // Only retained events of the first block count.
    BlockQuery blocks(&database_, oldest);
    const StoredBlock* const block = blocks.NextBlock();
    if (!blocks.status().ok()) return blocks.status();
    if (block == nullptr) return earliest;
    last = block->last();
    for (uint64_t at = std::max(oldest, block->first()); at <= last; ++at) {
      earliest = std::min(earliest, absl::ToUnixNanos(block->TimeOf(at)));
    }
  }
  SqliteQuery behind(
      &database_, "SELECT earliest_time FROM blocks WHERE last > ? ORDER BY earliest_time LIMIT 1");
  if (behind.Bind(last).Next()) earliest = std::min(earliest, behind.Int(0));
  if (!behind.status().ok()) return behind.status();
  return earliest;
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
  if (page.ok() && page->through < last) {  // full, so it will stay the same
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
  const absl::StatusOr<uint64_t> oldest = Oldest();
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
  const absl::StatusOr<uint64_t> newest = Newest();
  if (!newest.ok()) return newest.status();
  if (first > *newest) return absl::OkStatus();
  const absl::StatusOr<uint64_t> hole =
      SqliteQuery(&database_, "SELECT max(last) FROM holes WHERE first <= ?").Bind(first).Number();
  if (!hole.ok()) return hole.status();
  if (*hole >= last) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the journal's events ", first, " to ", last, " are missing"));
}

absl::Status JournalReader::Select(const Selection& selection, const Take& take) {
  const ReadSnapshot snapshot(&database_);
  if (!snapshot.status().ok()) return snapshot.status();
  BlockQuery blocks(&database_, SelectSql(selection));
  blocks.Bind(selection.first)
      .Bind(selection.last)
      .Bind(absl::ToUnixNanos(selection.end))
      .Bind(absl::ToUnixNanos(selection.start));
  std::vector<std::string> hashes;
  if (selection.matcher->names().globs().empty()) {
    for (const std::string& name : selection.matcher->names().exact()) {
      hashes.push_back(NameHash(name));
    }
  }
  for (const std::string& hash : hashes) blocks.BindBlob(hash);
  const uint64_t types = selection.matcher->types();
  const uint64_t classes = selection.matcher->classes();
  // If all is asked for, all must come.
  const bool all = selection.matcher->matches_all() && selection.start == absl::InfinitePast() &&
                   selection.end == absl::InfiniteFuture();
  uint64_t expected = selection.newest_first ? selection.last : selection.first;
  while (const StoredBlock* const block = blocks.NextBlock()) {
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
  if (!blocks.status().ok()) return blocks.status();
  if (all && !selection.newest_first && expected <= selection.last) {
    return CheckMissing(expected, selection.last);
  }
  if (all && selection.newest_first && expected >= selection.first && expected > 0) {
    return CheckMissing(selection.first, expected);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> JournalReader::UnbrokenFrom() {
  const absl::StatusOr<uint64_t> oldest = Oldest();
  if (!oldest.ok() || *oldest == 0) return oldest;
  return BeginOfHoleBefore(&database_, *oldest);
}

absl::StatusOr<uint64_t> JournalReader::Newest() {
  return SqliteQuery(&database_,
                     "SELECT max(coalesce((SELECT max(last) FROM blocks), 0), coalesce((SELECT"
                     " CAST(value AS INTEGER) FROM meta WHERE key = 'begins_after'), 0))")
      .Number();
}

absl::StatusOr<uint64_t> JournalReader::FirstSince(absl::Time time) {
  const absl::StatusOr<uint64_t> oldest = Oldest();
  if (!oldest.ok()) return oldest.status();
  const absl::StatusOr<uint64_t> newest = Newest();
  if (!newest.ok()) return newest.status();
  // The latest time up to each block never falls, and rises to `time` just in that of the first
  // event since then. All blocks before `low` end earlier; `found` does not, if there is one.
  uint64_t low = *oldest;
  uint64_t found = 0;
  for (uint64_t high = *newest + 1; low < high && *newest != 0;) {
    const uint64_t middle = low + (high - low) / 2;
    SqliteQuery block(&database_,
                      "SELECT last, latest_time FROM blocks WHERE last >= ? ORDER BY last LIMIT 1");
    const bool is_there = block.Bind(middle).Next();
    if (!block.status().ok()) return block.status();
    if (is_there && block.Int(1) < absl::ToUnixNanos(time)) {
      low = block.Uint(0) + 1;
    } else {
      if (is_there) found = block.Uint(0);
      high = middle;
    }
  }
  if (found == 0) return 0;
  BlockQuery blocks(&database_, found);
  const StoredBlock* const block = blocks.NextBlock();
  if (!blocks.status().ok()) return blocks.status();
  if (block == nullptr) return 0;
  for (uint64_t at = block->first(); at <= block->last(); ++at) {
    if (block->TimeOf(at) >= time) return std::max(at, *oldest);
  }
  return std::max(block->first(), *oldest);  // what was deleted before it was as late
}

absl::StatusOr<uint64_t> JournalReader::LastBefore(absl::Time time) {
  const absl::StatusOr<uint64_t> newest = Newest();
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<uint64_t> since = FirstSince(time);
  if (!since.ok() || *since == 0) return since.ok() ? *newest : since;
  const absl::StatusOr<uint64_t> early =
      SqliteQuery(&database_,
                  "SELECT last FROM blocks WHERE last >= ? AND earliest_time < ?"
                  " ORDER BY last DESC LIMIT 1")
          .Bind(*since)
          .Bind(absl::ToUnixNanos(time))
          .Number();
  if (!early.ok()) return early.status();
  // Earlier times may follow in a block after the clock stepped back, also in the first one.
  return std::max(*early, *since - 1);
}

}  // namespace vmeventd
