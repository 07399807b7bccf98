#include "server/eventlog/journal_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/unreadable.h"
#include "server/events/event_codec.h"

namespace vmeventd {
namespace {

constexpr size_t kSharedPages = 16;

constexpr char kColumns[] =
    "SELECT sequence, observe_time, vm_name, run_id, type, class, payload, checksum FROM events";

// The row that `statement` stands at; its views live until the next step.
absl::StatusOr<JournalEvent> ReadRow(const SqliteStatement& statement) {
  const JournalEvent event = {.sequence = static_cast<uint64_t>(statement.Int(0)),
                              .observe_time = absl::FromUnixNanos(statement.Int(1)),
                              .vm_name = statement.Bytes(2),
                              .run_id = statement.Bytes(3),
                              .type = static_cast<int>(statement.Int(4)),
                              .shutdown_class = static_cast<int>(statement.Int(5)),
                              .payload = statement.Bytes(6)};
  if (Checksum(event) != statement.Int(7)) {
    return absl::DataLossError(
        absl::StrCat("the journal's checksum of event ", event.sequence, " is wrong"));
  }
  return event;
}

// Without its VM.
EventBlock::Entry KeyOf(const JournalEvent& event) {
  return {.sequence = event.sequence,
          .type = static_cast<v1::EventType>(event.type),
          .shutdown_class = static_cast<v1::ShutdownClass>(event.shutdown_class),
          .observe_time = event.observe_time,
          .bytes = event.payload.size()};
}

EventBlock::Entry EntryOf(const JournalEvent& event) {
  EventBlock::Entry entry = KeyOf(event);
  entry.vm_name = event.vm_name;
  entry.run_id = event.run_id;
  entry.source = VmInEventField(event.payload).source;
  return entry;
}

// The text of a selection. ?1 to ?6: the bounds of sequence and time, the bits of types and
// classes; the names follow.
std::string SelectSql(const JournalReader::Selection& selection) {
  const NameMatcher& names = selection.matcher->names();
  std::string sql = absl::StrCat(kColumns, " WHERE sequence BETWEEN ?1 AND ?2");
  // Their bounds have been made bounds of the sequence: this is for where the clock stepped.
  absl::StrAppend(&sql, " AND observe_time >= ?3 AND observe_time < ?4");
  // An event of the node as a whole, which has no name, passes every filter.
  absl::StrAppend(&sql,
                  " AND (vm_name = '' OR ((?5 = 0 OR (1 << type) & ?5)"
                  " AND (?6 = 0 OR (1 << class) & ?6)))");
  if (names.globs().empty() && !names.exact().empty()) {
    absl::StrAppend(&sql, " AND vm_name IN (''");
    for (size_t i = 0; i < names.exact().size(); ++i) absl::StrAppend(&sql, ",?", 7 + i);
    absl::StrAppend(&sql, ")");
  }
  return absl::StrCat(sql, " ORDER BY sequence", selection.newest_first ? " DESC" : "");
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
      {absl::StrCat(kColumns, " WHERE sequence BETWEEN ? AND ? ORDER BY sequence"),
       &reader->read_from_},
      {"SELECT min(sequence) FROM events", &reader->oldest_},
      {"SELECT coalesce((SELECT first FROM holes WHERE last = oldest - 1), oldest)"
       " FROM (SELECT min(sequence) AS oldest FROM events)",
       &reader->unbroken_from_},
      // A new journal that goes on after another one's sequences may be empty yet.
      {"SELECT max(coalesce((SELECT max(sequence) FROM events), 0), coalesce((SELECT CAST(value AS"
       " INTEGER) FROM meta WHERE key = 'begins_after'), 0))",
       &reader->newest_},
      {"SELECT max(last) FROM holes WHERE first <= ?", &reader->hole_to_},
      {"SELECT sequence, coalesce(latest_time, observe_time) FROM events WHERE sequence >= ?"
       " ORDER BY sequence LIMIT 1",
       &reader->time_at_},
      {"SELECT sequence FROM events WHERE latest_time IS NOT NULL AND sequence >= ? LIMIT 1",
       &reader->step_after_},
      // The newest time that was deleted; the earliest that is retained.
      {"SELECT (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'deleted_until'),"
       " min(coalesce((SELECT observe_time FROM events ORDER BY sequence LIMIT 1), ?1),"
       " coalesce((SELECT min(observe_time) FROM events WHERE latest_time IS NOT NULL), ?1))",
       &reader->bounds_in_time_},
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
  EventBlockBuilder builder;
  size_t bytes = 0;
  const StatementUse use(read_from_.get());
  read_from_->Bind(1, static_cast<int64_t>(first)).Bind(2, static_cast<int64_t>(last));
  while (bytes < max_bytes) {
    absl::StatusOr<bool> row = read_from_->Step();
    if (!row.ok()) {
      absl::Status status = row.status();
      SetReadErrorPlace(absl::StrCat("event ", page.through + 1), &status);
      return status;
    }
    if (!*row) break;
    const absl::StatusOr<JournalEvent> event = ReadRow(*read_from_);
    if (!event.ok()) return event.status();
    const bool follows = event->sequence == page.through + 1;
    if (!follows) {
      absl::Status status = CheckMissing(page.through + 1, event->sequence - 1);
      if (!status.ok()) return status;
    }
    // A block holds consecutive sequences.
    if (!builder.empty() && (builder.full() || !follows)) page.blocks.push_back(builder.Finish());
    builder.AddEncoded(KeyOf(*event), event->payload);
    bytes += event->payload.size();
    page.through = event->sequence;
  }
  if (!builder.empty()) page.blocks.push_back(builder.Finish());
  if (bytes >= max_bytes) return page;
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
  const StatementUse use(bounds_in_time_.get());
  bounds_in_time_->Bind(1, INT64_MAX);
  absl::StatusOr<bool> row = bounds_in_time_->Step();
  if (!row.ok()) return row.status();
  const int64_t since = absl::ToUnixNanos(time);
  const bool all_there = !*row || bounds_in_time_->IsNull(0) || since > bounds_in_time_->Int(0);
  // The clock may have been set back: an event that is retained is later than one that was deleted,
  // whatever their times say.
  if (all_there || since >= bounds_in_time_->Int(1)) return absl::OkStatus();
  const absl::StatusOr<uint64_t> oldest = Query(oldest_.get());
  if (!oldest.ok()) return oldest.status();
  return absl::OutOfRangeError(absl::StrCat(
      "since: ", absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone()), " is too old: ",
      *oldest == 0 ? std::string("no event is retained")
                   : absl::StrCat("the oldest retained sequence is ", *oldest)));
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
      .Bind(3, absl::ToUnixNanos(selection.start))
      .Bind(4, absl::ToUnixNanos(selection.end))
      .Bind(5, static_cast<int64_t>(selection.matcher->types()))
      .Bind(6, static_cast<int64_t>(selection.matcher->classes()));
  if (selection.matcher->names().globs().empty()) {
    int index = 7;
    for (const std::string& name : selection.matcher->names().exact()) {
      statement->BindText(index++, name);
    }
  }
  // Where all is asked for, all must come.
  const bool all = selection.matcher->matches_all() && selection.start == absl::InfinitePast() &&
                   selection.end == absl::InfiniteFuture();
  uint64_t expected = selection.newest_first ? selection.last : selection.first;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) break;
    const absl::StatusOr<JournalEvent> event = ReadRow(*statement);
    if (!event.ok()) return event.status();
    if (all && event->sequence != expected) {
      absl::Status status = selection.newest_first ? CheckMissing(event->sequence + 1, expected)
                                                   : CheckMissing(expected, event->sequence - 1);
      if (!status.ok()) return status;
    }
    if (!take(EntryOf(*event), event->payload)) return absl::OkStatus();
    expected = selection.newest_first ? event->sequence - 1 : event->sequence + 1;
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
  // The latest time up to each event never falls, and rises to `time` just where the first event
  // since then stands. All before `low` is earlier; `found` is not, if there is one.
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
  return found;
}

absl::StatusOr<uint64_t> JournalReader::LastBefore(absl::Time time) {
  const absl::StatusOr<uint64_t> newest = Query(newest_.get());
  if (!newest.ok()) return newest.status();
  const absl::StatusOr<uint64_t> since = FirstSince(time);
  if (!since.ok() || *since == 0) return since.ok() ? *newest : since;
  step_after_->Bind(1, static_cast<int64_t>(*since));
  const absl::StatusOr<uint64_t> step = Query(step_after_.get());
  if (!step.ok()) return step.status();
  return *step == 0 ? *since - 1
                    : *newest;  // where the clock stepped back earlier times may follow
}

}  // namespace vmeventd
