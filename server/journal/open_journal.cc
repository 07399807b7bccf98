#include "server/journal/open_journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

// Moves the database and what belongs to it out of the way. Returns the new name; empty: there was
// no database.
absl::StatusOr<std::string> MoveAside(const std::string& path, absl::Time now) {
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0 && info.st_size == 0)
    unlink(path.c_str());  // nothing to keep
  const std::string stamp = absl::FormatTime("%Y%m%dT%H%M%S", now, absl::UTCTimeZone());
  std::string target = absl::StrCat(path, ".corrupt-", stamp);
  for (int i = 1; access(target.c_str(), F_OK) == 0; ++i) {
    target = absl::StrCat(path, ".corrupt-", stamp, "-", i);
  }
  const bool is_there = access(path.c_str(), F_OK) == 0;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string from = absl::StrCat(path, suffix);
    if (std::rename(from.c_str(), absl::StrCat(target, suffix).c_str()) != 0 && errno != ENOENT) {
      return absl::UnavailableError(
          ErrnoStatus(from, "cannot move the corrupt journal aside", errno).message());
    }
  }
  return is_there ? target : "";
}

// What can still be read of the open runs of a corrupt database, so that their evidence is not lost
// with it.
std::vector<JournalSession> SalvageSessions(const std::string& path) {
  std::vector<JournalSession> sessions;
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (database.ok()) ReadSessions(&*database, &sessions).IgnoreError();
  return sessions;
}

absl::StatusOr<OpenedJournal> TryOpen(
    const JournalOptions& options,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(options);
  if (!journal.ok()) return journal.status();
  absl::StatusOr<std::string> copied = (*journal)->WhyCopied();
  if (!copied.ok()) return copied.status();
  const bool is_copy = !copied->empty();
  // What is known of the files before says nothing of a copy of them.
  const uint64_t must_hold = is_copy ? 0 : newest_durable((*journal)->journal_id());
  if (must_hold > (*journal)->newest()) {
    return absl::DataLossError(absl::StrCat(options.path, ": its newest event is ",
                                            (*journal)->newest(), ", but events up to ", must_hold,
                                            " had been committed"));
  }
  OpenedJournal opened;
  absl::StatusOr<std::vector<JournalSession>> sessions = (*journal)->Sessions();
  if (!sessions.ok()) return sessions.status();
  opened.sessions = *std::move(sessions);
  absl::StatusOr<std::vector<JournalStop>> stops = (*journal)->Stops();
  if (!stops.ok()) return stops.status();
  opened.stops = *std::move(stops);
  if (absl::Status status = (*journal)->RecordOrigin(is_copy); !status.ok()) return status;
  opened.restored_because = *std::move(copied);
  opened.journal = *std::move(journal);
  return opened;
}

}  // namespace

absl::StatusOr<OpenedJournal> OpenJournal(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  absl::StatusOr<OpenedJournal> opened = TryOpen(options, newest_durable);
  if (!absl::IsDataLoss(opened.status())) return opened;
  return ReplaceJournal(options, std::string(opened.status().message()), now);
}

absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options, std::string because,
                                             absl::Time now, uint64_t begins_after,
                                             Journal* before) {
  if (before != nullptr && !before->CheckInPlace().ok()) {
    // Wherever its file is now, it shall be whole. If that fails, what is missing is in its log.
    before->MergeLog().IgnoreError();
  }
  absl::StatusOr<std::string> moved_to = MoveAside(options.path, now);
  if (!moved_to.ok()) return moved_to.status();
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(options, {begins_after, now});
  if (!journal.ok()) return journal.status();
  if (absl::Status status = (*journal)->RecordOrigin(false); !status.ok()) return status;
  OpenedJournal opened;
  opened.journal = *std::move(journal);
  if (!moved_to->empty()) opened.sessions = SalvageSessions(*moved_to);
  opened.moved_to = *std::move(moved_to);
  opened.moved_because = std::move(because);
  return opened;
}

}  // namespace vmeventd
