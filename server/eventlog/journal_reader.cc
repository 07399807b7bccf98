#include "server/eventlog/journal_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/error_reason.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "server/eventlog/database_check.h"
#include "server/eventlog/evidence_types.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/journal_rows.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {
namespace {

constexpr uint64_t kMaxSequence = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxGapBytes = 512;  // size of a GAP of reason RETENTION

// SQLite does not notice all damage.
absl::Status NotInOrder(uint64_t sequence) {
  return absl::DataLossError(absl::StrCat("the rows of events at ", sequence, " are not in order"));
}

using google::protobuf::internal::WireFormatLite;

using google::protobuf::io::CodedInputStream;

CodedInputStream FieldsOf(absl::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const uint8_t*>(bytes.data()),
                          static_cast<int>(bytes.size()));
}

// Returns whether the bytes are the fields of a message. Does not parse the fields: to parse each
// event would double the cost of a replay.
bool IsMessage(absl::string_view bytes) {
  auto fields = FieldsOf(bytes);
  return WireFormatLite::SkipMessage(&fields) && fields.ConsumedEntireMessage();
}

// Returns whether the row contains the fields of its event.
bool IsEventOf(const EventRecord& row) {
  auto fields = FieldsOf(row.event);
  uint64_t sequence = 0;
  uint64_t type = 0;
  constexpr auto tag_of = [](int field) {
    return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
  };
  while (const uint32_t tag = fields.ReadTag()) {
    const bool read =
        tag == tag_of(v1::Event::kSequenceFieldNumber) ? fields.ReadVarint64(&sequence)
        : tag == tag_of(v1::Event::kTypeFieldNumber)   ? fields.ReadVarint64(&type)
                                                       : WireFormatLite::SkipField(&fields, tag);
    if (!read) return false;
  }
  return fields.ConsumedEntireMessage() && sequence == row.sequence && type != 0 &&
         type == static_cast<uint64_t>(row.type);
}

// Returns whether a client can parse the event; with any other event, its stream would end.
bool IsReadable(const EventRecord& row) { return IsEventOf(row) && IsMessage(row.vm_ref); }

// Makes the GAP with this `sequence`, which names `missing`.
EventPtr GapAt(uint64_t sequence, GapReason reason, const std::string& message, absl::Time time,
               const Hole& missing) {
  v1::Event gap = MakeGap(reason, message, time);
  gap.set_sequence(sequence);
  gap.mutable_missing()->set_first(missing.first);
  gap.mutable_missing()->set_last(missing.last);
  return Logged(std::move(gap));
}

// Makes the GAP that replaces an unreadable row.
EventPtr DamageGap(const EventRecord& row) {
  return GapAt(row.sequence, GapReason::kDamaged,
               absl::StrCat("the journal's row of the event ", row.sequence,
                            " is damaged: that event is lost"),
               row.observe_time, {row.sequence, row.sequence});
}

// Adds the reason for clients to a failure that may pass.
absl::Status ForClients(absl::Status status) {
  return absl::IsUnavailable(status) ? WithReason("JOURNAL_UNAVAILABLE", std::move(status))
                                     : status;
}

// The names of the VMs whose events can match, with that of an event of the node as a whole, which
// always passes. Empty: events of any VM can match.
std::vector<std::string> WantedNames(const EventMatcher& matcher) {
  const absl::flat_hash_set<std::string>* const exact = matcher.names().exact();
  if (exact == nullptr) return {};
  std::vector<std::string> names = {""};
  names.insert(names.end(), exact->begin(), exact->end());
  return names;
}

// "class IS NULL OR class IN (1, 3)": the classes that match, and a GAP, which has none.
std::string ClassesText(uint64_t classes) {
  std::string list;
  for (int one = 1; one < 64; ++one) {
    if ((classes >> one & 1) != 0) absl::StrAppend(&list, list.empty() ? "" : ", ", one);
  }
  return absl::StrCat("class IS NULL OR class IN (", list, ")");
}

// The text of a SELECT of the events that may match. Its parameters: with `names`, the group of
// sequences and so many names; then the first and the last sequence.
std::string SelectText(const EventMatcher& matcher, size_t names, bool newest_first) {
  std::string sql = VMEVENTD_SELECT_EVENTS;
  if (names > 0) {
    const std::string marks = absl::StrJoin(std::vector<absl::string_view>(names, "?"), ", ");
    absl::StrAppend(&sql, "sequence >> 13 = ? AND vm_id IN (SELECT id FROM vms WHERE name IN (",
                    marks, ")) AND ");
  } else if (matcher.is_of_ends()) {
    // If only ends are wanted, this index finds them without the other events.
    sql = VMEVENTD_SELECT_FROM
        "stored INDEXED BY stored_ends"
        " LEFT JOIN vms ON vms.id = stored.vm WHERE " VMEVENTD_ENDS " AND ";
    if (matcher.classes() != 0) {
      absl::StrAppend(&sql, "(", ClassesText(matcher.classes()), ") AND ");
    }
  }
  absl::StrAppend(&sql, "sequence BETWEEN ? AND ? ORDER BY sequence", newest_first ? " DESC" : "");
  return sql;
}

}  // namespace

absl::Status RetentionPassed(absl::string_view what, uint64_t oldest) {
  return WithReason("RETENTION_PASSED",
                    absl::OutOfRangeError(absl::StrCat(
                        what, " is no longer retained: the oldest retained sequence is ", oldest)));
}

absl::StatusOr<std::unique_ptr<JournalReader>> JournalReader::Open(const std::string& path) try {
  return std::unique_ptr<JournalReader>(new JournalReader(path));
} catch (const SQLite::Exception& error) {
  const absl::Status status = SqliteError(path, error);
  return ForClients(absl::IsDataLoss(status) ? CheckDatabase(path, status) : status);
}

SqliteDatabase& JournalReader::Connect() {
  if (std::exchange(stale_, false)) database_.reset();
  if (!database_.has_value()) database_.emplace(path_);
  return *database_;
}

absl::Status JournalReader::Failure(const SQLite::Exception& error) {
  absl::Status status = SqliteError(path_, error);
  const bool is_damage = absl::IsDataLoss(status);
  stale_ = stale_ || is_damage;
  if (absl::IsInternal(status) || !damage_.ok()) return ForClients(std::move(status));
  const int code = error.getExtendedErrorCode();
  if (code != failure_ || SteadyNow() >= judged_at_ + kCheckPause) {
    failure_ = code;
    judged_ = is_damage ? CheckDatabase(path_, status) : status;
    judged_at_ = SteadyNow();
    if (absl::IsDataLoss(judged_)) {
      damage_ = judged_;
    } else {
      spdlog::warn("the journal cannot be read: {}", std::string(judged_.message()));
    }
  }
  return ForClients(judged_);
}

absl::StatusOr<uint64_t> JournalReader::Locate(absl::Time time) try {
  const SQLite::Transaction snapshot(Connect());
  SqliteQuery bounds(*database_,
                     "SELECT (SELECT min(time) FROM stored), (SELECT min(sequence) FROM stored"
                     " WHERE sequence > 0), (SELECT CAST(value AS INTEGER) FROM meta WHERE key = "
                     "'deleted_until')");
  bounds.Next();
  const int64_t wanted = absl::ToUnixNanos(time);
  const int64_t deleted_until = bounds.Int(2);  // 0: nothing was deleted
  if (time > absl::InfinitePast() && deleted_until != 0 && deleted_until >= wanted &&
      (bounds.Int(1) == 0 || bounds.Int(0) > wanted)) {
    return RetentionPassed(
        absl::StrCat("since: an event of ", absl::FormatTime(time, absl::UTCTimeZone())),
        bounds.Uint(1));
  }
  const uint64_t first = FirstSince(time);
  // The oldest retained event; events that were thinned out before it are gone too.
  if (time == absl::InfinitePast() && first != 0) return first;
  // Events deleted just before it may have been observed since then.
  SqliteQuery before(*database_,
                     "SELECT max(sequence) FROM stored WHERE sequence > 0 AND sequence < ?",
                     first == 0 ? kMaxSequence : first);
  return std::max(before.Number(), QueryMetaNumber(*database_, "deleted")) + 1;
} catch (const SQLite::Exception& error) {
  return Failure(error);
}

uint64_t JournalReader::FirstSince(absl::Time time) {
  // The likely end of the journal first, in the order of sequences; then all in the order of times.
  return SqliteQuery(*database_,
                     "SELECT ifnull((SELECT min(sequence) FROM (SELECT sequence, time FROM stored"
                     " WHERE sequence > 0 ORDER BY sequence LIMIT 1000) WHERE time >= ?1), (SELECT"
                     " min(sequence) FROM stored INDEXED BY stored_by_time WHERE time >= ?1"
                     " AND +sequence > 0))",
                     absl::ToUnixNanos(time))
      .Number();
}

absl::StatusOr<std::pair<uint64_t, uint64_t>> JournalReader::Within(absl::Time start,
                                                                    absl::Time end,
                                                                    uint64_t from) try {
  const uint64_t deleted = QueryMetaNumber(Connect(), "deleted");
  if (from != 0 && from <= deleted) {
    return RetentionPassed(absl::StrCat("page_token: sequence ", from, ", where this page begins,"),
                           deleted + 1);
  }
  std::pair<uint64_t, uint64_t> within = {1, UINT64_MAX};
  if (start > absl::InfinitePast()) {
    const uint64_t since = FirstSince(start);
    within.first = since == 0 ? UINT64_MAX : since;
  }
  if (end < absl::InfiniteFuture()) {
    within.second =
        SqliteQuery(*database_,
                    "SELECT ifnull((SELECT max(sequence) FROM (SELECT sequence, time FROM stored"
                    " WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1000) WHERE time < ?1),"
                    " (SELECT max(sequence) FROM stored INDEXED BY stored_by_time"
                    " WHERE time < ?1 AND +sequence > 0))",
                    absl::ToUnixNanos(end))
            .Number();
    // The last event that was observed later, and may have happened before.
    const uint64_t unseen =
        SqliteQuery(*database_,
                    "SELECT max(sequence) FROM stored INDEXED BY stored_by_since"
                    " WHERE since < ?1 AND time >= ?2 AND +sequence > 0",
                    absl::ToUnixNanos(end), absl::ToUnixNanos(start))
            .Number();
    within.second = std::max(within.second, unseen);
  }
  return within;
} catch (const SQLite::Exception& error) {
  return Failure(error);
}

EventPtr JournalReader::RetentionGap(uint64_t sequence, const Hole& missing) {
  SqliteQuery after(*database_, "SELECT time FROM stored WHERE sequence > ? LIMIT 1", sequence);
  return GapAt(
      sequence, GapReason::kRetention,
      absl::StrCat("the journal was full: retention has deleted events of the VMs with the "
                   "most of them, but for ",
                   EvidenceNames()),
      absl::FromUnixNanos(after.Next() ? after.Int(0) : 0), missing);
}

absl::StatusOr<uint64_t> JournalReader::Read(uint64_t first, uint64_t last, Take passes,
                                             EventPage* page) try {
  const SQLite::Transaction snapshot(Connect());
  const uint64_t deleted = QueryMetaNumber(*database_, "deleted");
  if (first <= deleted) return RetentionPassed(absl::StrCat("sequence ", first), deleted + 1);
  const uint64_t thinned = QueryMetaNumber(*database_, "thinned");
  if (first <= thinned) page->max_bytes -= std::min(page->max_bytes, kMaxGapBytes);
  last = std::min(last, kMaxSequence);
  uint64_t next = first;  // the sequence behind what was read
  // The GAP takes the place of the first of these, so that a reader who stops after it knows of all
  // of them.
  Hole gap;
  uint64_t gap_sequence = 0;
  size_t gap_at = 0;
  const auto find_gap = [&](uint64_t end) {
    end = std::min(end, thinned + 1);
    if (next >= end) return;
    if (gap.empty()) {
      gap.first = next;
      gap_sequence = end - 1;
      gap_at = page->encoded.size();
      ++page->count;
    }
    gap.last = end - 1;
  };
  const auto take = [&](const EventRecord& event) {
    find_gap(event.sequence);
    next = event.sequence;
    const auto append = [&event](std::string* out) { AppendEvent(event, out); };
    if (!page->HasTimeForOne() || (passes(event) && !page->Add(append))) return false;
    ++next;
    return true;
  };
  const absl::StatusOr<uint64_t> stop = Select(EventMatcher(), first, last, /*newest_first=*/false,
                                               take, [page] { return page->HasTime(); });
  if (!stop.ok()) return stop.status();
  const uint64_t end = *stop == 0 ? last + 1 : *stop;
  find_gap(end);
  if (!gap.empty()) page->encoded.insert(gap_at, RetentionGap(gap_sequence, gap)->field);
  return end - 1;
} catch (const SQLite::Exception& error) {
  return Failure(error);
}

absl::StatusOr<uint64_t> JournalReader::Select(const EventMatcher& matcher, uint64_t first,
                                               uint64_t last, bool newest_first, Take take,
                                               absl::FunctionRef<bool()> has_time) try {
  const std::vector<std::string> names = WantedNames(matcher);
  SQLite::Statement statement(Connect(), SelectText(matcher, names.size(), newest_first));
  uint64_t& at = newest_first ? last : first;
  while (first <= last) {
    // Sequences may jump by many groups.
    SqliteQuery found(*database_,
                      newest_first ? "SELECT max(sequence) FROM stored WHERE sequence <= ?"
                                   : "SELECT min(sequence) FROM stored WHERE sequence >= ?",
                      at);
    const uint64_t next = found.Number();
    if (next < first || next > last) break;
    at = next;
    const uint64_t group = at >> kGroupBits;
    const uint64_t begin = std::max(first, group << kGroupBits);
    const uint64_t end = std::min(last, ((group + 1) << kGroupBits) - 1);
    SqliteQuery rows(statement);
    if (!names.empty()) {
      rows.Bind(group);
      for (const std::string& name : names) rows.Bind(name);
    }
    rows.Bind(begin);
    rows.Bind(end);
    while (rows.Next()) {
      EventRecord event = RecordOfRow(rows);
      if (event.sequence < first || event.sequence > last) return NotInOrder(at);
      EventPtr gap;
      // Each row of `stored` has its row of `vms`, also that of an event of the node as a whole.
      if (rows.IsNull(5) || !IsReadable(event)) {
        gap = DamageGap(event);
        event = *gap;
      }
      if (!take(event)) return event.sequence;
      at = newest_first ? event.sequence - 1 : event.sequence + 1;
    }
    at = newest_first ? begin - 1 : end + 1;
    if (first > last) break;
    if (!has_time()) return at;
  }
  return uint64_t{0};
} catch (const SQLite::Exception& error) {
  return Failure(error);
}

}  // namespace vmeventd
