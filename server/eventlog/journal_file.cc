#include "server/eventlog/journal_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/sync_directory.h"
#include "base/unique_fd.h"
#include "server/eventlog/damage_report.h"

namespace vmeventd {

absl::Status CreateJournalFile(const std::string& path) {
  const UniqueFd fd(
      open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640));
  if (!fd.valid() && errno == ELOOP) {
    return absl::FailedPreconditionError(absl::StrCat(
        path,
        ": a symbolic link, which is not followed; move the file here, or link its directory"));
  }
  if (!fd.valid()) {
    return absl::UnavailableError(ErrnoStatus(path, "cannot open the journal", errno).message());
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": not a regular file; move it away"));
  }
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": belongs to the user with the id ", info.st_uid, ", and vmeventd runs as ",
        geteuid(), ": give it to that user, or run vmeventd as its owner"));
  }
  return absl::OkStatus();
}

// SQLite maps the index of its log, and extends it by one byte for each page of 4 KiB. With smaller
// blocks, the rest is allocated by a write to the mapping, which ends the process on a full disk.
absl::Status CheckRoomOfJournal(const std::string& path) {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kRoom = uint64_t{64} << 10;
  struct statvfs room {};
  if (statvfs(path.c_str(), &room) != 0 || room.f_bsize >= kPage ||
      room.f_bavail * room.f_frsize >= kRoom) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(path, ": the disk is full"));
}

absl::Status SyncJournalLog(const std::string& path) {
  const std::string log = path + "-wal";
  const UniqueFd fd(open(log.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.valid() ? fdatasync(fd.get()) == 0 : errno == ENOENT) return absl::OkStatus();
  return absl::UnavailableError(ErrnoStatus(log, "cannot be synced", errno).message());
}

absl::StatusOr<std::string> MoveJournalAside(const std::string& path, absl::Time now) {
  const std::string time = absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  std::string aside = absl::StrCat(path, ".", time);
  struct stat info {};
  for (int i = 2; lstat(aside.c_str(), &info) == 0; ++i)
    aside = absl::StrCat(path, ".", time, "-", i);
  // The log first: a database without it is whole, a log without its database is nothing.
  for (const char* suffix : {"-shm", "-wal", ""}) {
    const std::string from = absl::StrCat(path, suffix);
    if (rename(from.c_str(), absl::StrCat(aside, suffix).c_str()) != 0 && errno != ENOENT) {
      return absl::UnavailableError(ErrnoStatus(from, "cannot be moved aside", errno).message());
    }
  }
  RemoveDamageReport(path);
  if (absl::Status status = SyncDirectoryOf(path); !status.ok()) return status;
  return aside;
}

}  // namespace vmeventd
