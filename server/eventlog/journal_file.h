#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

// The journal's files, around what SQLite does with them. `path` is the database's; its log is
// beside it. May block while the disk hangs.

namespace vmeventd {

// Creates the file, if there is none, with mode 0640, not SQLite's 0644; the write-ahead log gets
// the same mode. FAILED_PRECONDITION: what is there is no file of vmeventd's user, and the message
// says what to do. UNAVAILABLE: it cannot be opened now.
absl::Status CreateJournalFile(const std::string& path);
// UNAVAILABLE: the disk is too full for SQLite, which could end the process.
absl::Status CheckRoomOfJournal(const std::string& path);
// Syncs the write-ahead log: a kill may have left an unsynced commit in it, but everything that a
// start finds counts as durable.
absl::Status SyncJournalLog(const std::string& path);
// Renames the database and its log, and drops the report of its damage. Returns the new path.
absl::StatusOr<std::string> MoveJournalAside(const std::string& path, absl::Time now);

}  // namespace vmeventd
