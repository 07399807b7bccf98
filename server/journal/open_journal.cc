#include "server/journal/open_journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "server/journal/replacement.h"
#include "server/journal/unreadable.h"

namespace vmeventd {
namespace {

// What can still be read of the open runs of a corrupt database, so that their evidence is not lost
// with it.
std::vector<JournalSession> SalvageSessions(const std::string& path) {
  std::vector<JournalSession> sessions;
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(
      path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return sessions;
  database->LeaveFilesAlone();
  ReadSessions(&*database, &sessions).IgnoreError();
  return sessions;
}

// The open runs with which the new journal begins.
std::vector<JournalSession> SessionsOf(const std::string& path, const Replacement& replacement) {
  std::map<std::string, JournalSession> sessions;
  const auto put = [&](const std::vector<JournalSession>& from) {
    for (const JournalSession& session : from) {
      if (session.payload.empty()) {
        sessions.erase(session.run_id);
      } else {
        sessions[session.run_id] = session;
      }
    }
  };
  Journal* const in_use = replacement.in_use;
  put(in_use == nullptr ? SalvageSessions(path) : in_use->ReadableSessions());
  put(replacement.changes);
  std::vector<JournalSession> out;
  for (auto& [run_id, session] : sessions) {
    // Of a journal whose sequences do not go on it would name another event, or none.
    if (session.last_sequence > replacement.begins_after) session.last_sequence = 0;
    out.push_back(std::move(session));
  }
  return out;
}

// Whether starts fail since so long ago that it is no passing state of the disk. `path`: the file
// that keeps when that began.
bool HasFailedForLong(const std::string& path, absl::Time now) {
  int64_t began_ns = 0;
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (text.ok() && absl::SimpleAtoi(*text, &began_ns) && absl::FromUnixNanos(began_ns) <= now) {
    return now - absl::FromUnixNanos(began_ns) >= UnreadablePlaces::kLasts;
  }
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  const std::string began = absl::StrCat(absl::ToUnixNanos(now));
  // A disk that takes nothing is no place for a new journal either: the next start tries again.
  if (fd.get() < 0 || pwrite(fd.get(), began.data(), began.size(), 0) < 0) return false;
  return false;
}

absl::StatusOr<OpenedJournal> TryOpen(
    const JournalOptions& options,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(options);
  if (!journal.ok()) return journal.status();
  absl::StatusOr<std::string> copied = (*journal)->WhyCopied();
  if (!copied.ok()) return copied.status();
  const bool is_copy = !copied->empty();
  // Knowledge of the files before does not apply to a copy of them.
  const uint64_t must_hold = is_copy ? 0 : newest_durable((*journal)->journal_id());
  if (must_hold > (*journal)->newest()) {
    return absl::DataLossError(absl::StrCat(options.path, ": its newest event is ",
                                            (*journal)->newest(), ", but events up to ", must_hold,
                                            " had been committed"));
  }
  OpenedJournal opened;
  absl::StatusOr<std::string> replaces = (*journal)->WhatItReplaces();
  if (!replaces.ok()) return replaces.status();
  std::tie(opened.moved_to, opened.moved_because) =
      std::pair<std::string, std::string>(absl::StrSplit(*replaces, absl::MaxSplits('\n', 1)));
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
  // The daemon before this one may have ended in it.
  if (absl::Status status = FinishReplacement(options.path); !status.ok()) return status;
  absl::StatusOr<OpenedJournal> opened = TryOpen(options, newest_durable);
  const std::string unreadable = options.path + ".unreadable";
  if (opened.ok()) unlink(unreadable.c_str());
  const bool damaged = absl::IsDataLoss(opened.status()) ||
                       (IsReadError(opened.status()) && HasFailedForLong(unreadable, now));
  if (!damaged) return opened;
  unlink(unreadable.c_str());
  return ReplaceJournal(options, std::string(opened.status().message()), now, {});
}

absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options, std::string because,
                                             absl::Time now, const Replacement& replacement) {
  Journal* const in_use = replacement.in_use;
  if (in_use != nullptr && !in_use->CheckInPlace().ok()) {
    // Wherever its file is now, it shall be whole. If that fails, what is missing is in its log.
    in_use->MergeLog().IgnoreError();
  }
  const absl::StatusOr<std::string> aside = NameAside(options.path, now);
  if (!aside.ok()) return aside.status();
  struct stat info {};
  const bool is_there = lstat(options.path.c_str(), &info) == 0 && info.st_size > 0;
  const JournalBeginning beginning = {
      .after = replacement.begins_after,
      .deleted_until = now,
      .sessions = SessionsOf(options.path, replacement),
      .replaces = absl::StrCat(is_there ? *aside : "", "\n", because)};
  if (absl::Status status = BuildReplacement(options, beginning, *aside); !status.ok()) {
    return status;
  }
  if (absl::Status status = FinishReplacement(options.path); !status.ok()) return status;
  return TryOpen(options, [](const std::string&) { return uint64_t{0}; });
}

}  // namespace vmeventd
