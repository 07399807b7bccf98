#ifndef VMEVENTD_SERVER_JOURNAL_ROWS_H_
#define VMEVENTD_SERVER_JOURNAL_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/journal/sqlite.h"

namespace vmeventd {

// One event as it is kept. The views live for the call.
struct JournalEvent {
  uint64_t sequence = 0;
  absl::Time observe_time;
  absl::string_view vm_name;
  absl::string_view run_id;
  int type = 0;
  int shutdown_class = 0;
  absl::string_view payload;  // the bytes of one `events` field of WatchEventsResponse
};

// One open run as it is kept; an empty payload says that it is over.
struct JournalSession {
  std::string run_id;
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};

// A VM that has stopped, for the answers about VMs after a restart.
struct JournalStop {
  uint64_t sequence = 0;  // of its STOPPED
  std::string vm;         // one `snapshot_vms` field of WatchEventsResponse
};

// What protects a row against a flipped bit: SQLite checks its structure, not its content. CRC-32
// of the row's other columns, docs/journal.md.
uint32_t Checksum(const JournalEvent& event);
uint32_t Checksum(const JournalSession& session);
uint32_t Checksum(const JournalStop& stop);

// Puts a row of `sessions`, in its place: with the same length, which is usual, nothing else in the
// page moves.
inline constexpr char kPutSession[] =
    "INSERT INTO sessions(run_id, payload, last_sequence, checksum) VALUES(?, ?, ?, ?)"
    " ON CONFLICT(run_id) DO UPDATE SET payload = excluded.payload,"
    " last_sequence = excluded.last_sequence, checksum = excluded.checksum";
SqliteStatement& BindSession(const JournalSession& session, SqliteStatement* statement);

// Appends the open runs to `sessions`, up to the first that cannot be read. DATA_LOSS: a checksum
// is wrong.
absl::Status ReadSessions(SqliteDatabase* database, std::vector<JournalSession>* sessions);
// The VMs that stopped last, oldest first. DATA_LOSS: a checksum is wrong.
absl::StatusOr<std::vector<JournalStop>> ReadStops(SqliteDatabase* database);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_ROWS_H_
