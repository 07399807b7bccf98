#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/eventlog/sqlite.h"
#include "server/events/event_record.h"

// The form of the journal's rows, which Journal writes and JournalReader reads.

namespace vmeventd {

// The types of kEndTypes in SQL. The index stored_ends covers these; SQLite uses it only for a
// statement with exactly this text.
#define VMEVENTD_ENDS "type IN (2, 3, 20)"

// Begin of a statement that reads events: from a table, or from all events.
#define VMEVENTD_SELECT_FROM \
  "SELECT sequence, time, type, class, event, ref, ifnull(since, time) FROM "
#define VMEVENTD_SELECT_EVENTS VMEVENTD_SELECT_FROM "events WHERE "
// Returns the event of such a row. Its views are valid until the next step.
EventRecord RecordOfRow(const SqliteQuery& row);
// Events are indexed by groups of 2^13 sequences, and in each by the VM: so events that are written
// together are stored together, and the events of a VM are still found fast.
inline constexpr int kGroupBits = 13;

// Returns the value of a key of the table `meta`; unset, or 0: it has none.
std::optional<std::string> QueryMeta(SqliteDatabase& database, const char* key);
uint64_t QueryMetaNumber(SqliteDatabase& database, const char* key);

}  // namespace vmeventd
