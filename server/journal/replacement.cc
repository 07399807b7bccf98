#include "server/journal/replacement.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "server/journal/sequence_mark.h"

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

void RemoveDatabase(const std::string& path) {
  for (const char* suffix : kWithLog) unlink(absl::StrCat(path, suffix).c_str());
}

}  // namespace

absl::StatusOr<std::string> NameAside(const std::string& path, absl::Time now) {
  const absl::StatusOr<std::string> next = NextAt(path);
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
  RemoveDatabase(built.path);
  {
    absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(built, beginning);
    if (!journal.ok()) return journal.status();
    // Its log would not come along.
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

}  // namespace vmeventd
