#include "server/eventlog/open_journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/unreadable.h"

namespace vmeventd {
namespace {

// Suffixes of SQLite's files beside a database.
constexpr const char* kWithLog[] = {"", "-wal", "-shm"};
constexpr char kNext[] = ".next-";

// Path of the replacement that is under way; empty: none is.
absl::StatusOr<std::string> NextAt(const std::string& path) {
  const std::filesystem::path file(path);
  const std::string prefix = absl::StrCat(file.filename().string(), kNext);
  const std::string directory = file.parent_path();
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  errno = entries == nullptr ? errno : 0;
  while (const dirent* const entry = errno == 0 ? readdir(entries.get()) : nullptr) {
    if (absl::StartsWith(entry->d_name, prefix)) return file.parent_path() / entry->d_name;
  }
  if (errno == 0) return "";
  return absl::UnavailableError(ErrnoStatus(directory, "cannot be listed", errno).message());
}

// PATH.SUFFIX for PATH.next-SUFFIX, and back.
std::string AsideOf(const std::string& path, const std::string& next) {
  return absl::StrCat(path, ".", next.substr(path.size() + sizeof(kNext) - 1));
}
std::string NextOf(const std::string& path, const std::string& aside) {
  return absl::StrCat(path, kNext, aside.substr(path.size() + 1));
}

absl::Status Move(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      ErrnoStatus(from, absl::StrCat("cannot be moved to ", to), errno).message());
}

// Appends what can still be read of the open runs of a corrupt database, so that their evidence is
// not lost with it. The status says why some are missing.
absl::Status SalvageRuns(const std::string& path, std::vector<SavedRun>* runs) {
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(path, SQLITE_OPEN_READWRITE);
  if (!database.ok()) return database.status();
  database->LeaveFilesAlone();
  return ReadRuns(&*database, runs);
}

// The open runs with which the new journal begins.
std::vector<SavedRun> RunsOf(const Replacement& replacement) {
  std::map<std::string, SavedRun> runs;
  const auto put = [&](const std::vector<SavedRun>& from) {
    for (const SavedRun& saved : from) {
      if (saved.payload.empty()) {
        runs.erase(std::string(saved.run_id));
      } else {
        runs[std::string(saved.run_id)] = saved;
      }
    }
  };
  if (replacement.in_use != nullptr) put(replacement.in_use->ReadableRuns());
  put(replacement.changes);
  std::vector<SavedRun> out;
  for (auto& [run_id, saved] : runs) {
    // The sequence would name another event, or none, in a journal that does not continue the
    // sequences.
    if (saved.last_sequence > replacement.begins_after) saved.last_sequence = 0;
    out.push_back(std::move(saved));
  }
  return out;
}

// Returns whether starts have failed for so long that it is no passing state of the disk. `path` is
// the file that keeps the time of the first failure.
bool HasFailedForLong(const std::string& path, absl::Time now) {
  int64_t began_ns = 0;
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (text.ok() && absl::SimpleAtoi(*text, &began_ns) && absl::FromUnixNanos(began_ns) <= now) {
    return now - absl::FromUnixNanos(began_ns) >= UnreadablePlaces::kLasts;
  }
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  const std::string began = absl::StrCat(absl::ToUnixNanos(now));
  // A disk that cannot be written has no room for a new journal either: the next start retries.
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
  absl::Status status = (*journal)->ReadSaved(&opened.runs, &opened.stops);
  if (!status.ok()) return status;
  if (status = (*journal)->RecordOrigin(is_copy); !status.ok()) return status;
  opened.restored_because = *std::move(copied);
  opened.journal = *std::move(journal);
  return opened;
}

}  // namespace

absl::StatusOr<std::string> NameAside(const std::string& path, absl::Time now) {
  absl::StatusOr<std::string> next = NextAt(path);
  if (!next.ok()) return next;
  if (!next->empty()) return AsideOf(path, *next);
  const std::string stamp = absl::FormatTime("%Y%m%dT%H%M%S", now, absl::UTCTimeZone());
  std::string aside = absl::StrCat(path, ".corrupt-", stamp);
  for (int i = 1; access(aside.c_str(), F_OK) == 0; ++i) {
    aside = absl::StrCat(path, ".corrupt-", stamp, "-", i);
  }
  return aside;
}

absl::Status BuildReplacement(const JournalOptions& options, const JournalBeginning& beginning,
                              const std::string& aside) {
  JournalOptions built = options;
  built.path = absl::StrCat(options.path, ".new");
  for (const char* suffix : kWithLog) unlink(absl::StrCat(built.path, suffix).c_str());
  {
    absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(built, beginning);
    if (!journal.ok()) return journal.status();
    // Its log would stay behind.
    if (absl::Status status = (*journal)->MergeLog(); !status.ok()) return status;
  }
  for (const char* suffix : {"-wal", "-shm"}) unlink(absl::StrCat(built.path, suffix).c_str());
  if (absl::Status status = Move(built.path, NextOf(options.path, aside)); !status.ok()) {
    return status;
  }
  return SyncDirectoryOf(options.path);
}

absl::Status FinishReplacement(const std::string& path) {
  const absl::StatusOr<std::string> next = NextAt(path);
  if (!next.ok() || next->empty()) return next.status();
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0 && info.st_size == 0)
    unlink(path.c_str());  // nothing to keep
  const std::string aside = AsideOf(path, *next);
  for (const char* suffix : kWithLog) {
    const std::string from = absl::StrCat(path, suffix);
    if (lstat(from.c_str(), &info) != 0 && errno == ENOENT) continue;
    if (absl::Status status = Move(from, absl::StrCat(aside, suffix)); !status.ok()) return status;
  }
  if (absl::Status status = Move(*next, path); !status.ok()) return status;
  return SyncDirectoryOf(path);
}

absl::StatusOr<OpenedJournal> OpenJournal(
    const JournalOptions& options, absl::Time now,
    const std::function<uint64_t(const std::string&)>& newest_durable) {
  // The previous daemon may have ended during a replacement.
  if (absl::Status status = FinishReplacement(options.path); !status.ok()) return status;
  absl::StatusOr<OpenedJournal> opened = TryOpen(options, newest_durable);
  if (absl::IsUnimplemented(opened.status())) {  // of an earlier version
    const absl::Status converted = ConvertJournal(options.path);
    opened = converted.ok() ? TryOpen(options, newest_durable) : converted;
  }
  const std::string unreadable = options.path + ".unreadable";
  if (opened.ok()) unlink(unreadable.c_str());
  const bool lasts = IsReadError(opened.status()) && HasFailedForLong(unreadable, now);
  if (!absl::IsDataLoss(opened.status()) && !lasts) return opened;
  std::vector<SavedRun> runs;
  const absl::Status salvaged = SalvageRuns(options.path, &runs);
  // An error that is no damage may pass: the disk may give them the next time.
  const bool may_pass = !salvaged.ok() && !absl::IsDataLoss(salvaged);
  if (may_pass && !lasts && !HasFailedForLong(unreadable, now)) return salvaged;
  unlink(unreadable.c_str());
  return ReplaceJournal(options, std::string(opened.status().message()), now,
                        {.changes = std::move(runs)});
}

absl::StatusOr<OpenedJournal> ReplaceJournal(const JournalOptions& options,
                                             const std::string& because, absl::Time now,
                                             const Replacement& replacement) {
  Journal* const in_use = replacement.in_use;
  if (in_use != nullptr && !in_use->CheckInPlace().ok()) {
    // Completes its file, wherever that is now. If that fails, its log has the rest.
    in_use->MergeLog().IgnoreError();
  }
  const absl::StatusOr<std::string> aside = NameAside(options.path, now);
  if (!aside.ok()) return aside.status();
  struct stat info {};
  const bool is_there = lstat(options.path.c_str(), &info) == 0 && info.st_size > 0;
  const JournalBeginning beginning = {
      .after = replacement.begins_after,
      .deleted_until = now,
      .runs = RunsOf(replacement),
      .replaces = absl::StrCat(is_there ? *aside : "", "\n", because)};
  if (absl::Status status = BuildReplacement(options, beginning, *aside); !status.ok()) {
    return status;
  }
  if (absl::Status status = FinishReplacement(options.path); !status.ok()) return status;
  return TryOpen(options, [](const std::string&) { return uint64_t{0}; });
}

}  // namespace vmeventd
