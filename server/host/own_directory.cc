#include "server/host/own_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

absl::Status MakeMissing(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  const size_t slash = path.rfind('/');
  if (errno != ENOENT || slash == std::string::npos || slash == 0) {
    return ErrnoStatus(path, "cannot be created", errno);
  }
  absl::Status status = MakeMissing(path.substr(0, slash), 0755);
  if (status.ok() && mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    status = ErrnoStatus(path, "cannot be created", errno);
  }
  return status;
}

// Gives the directory that this process has just created to `group`, and no other directory that
// has taken its name.
absl::Status GiveToGroup(const std::string& path, std::optional<gid_t> group) {
  if (!group.has_value()) return absl::OkStatus();
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return ErrnoStatus(path, "cannot be examined", errno);
  }
  if (info.st_uid != geteuid()) return absl::OkStatus();  // the caller checks the owner
  // The umask may have removed the group's right to enter.
  if (fchown(fd.get(), static_cast<uid_t>(-1), *group) != 0 || fchmod(fd.get(), 0750) != 0) {
    return ErrnoStatus(path, absl::StrCat("cannot be given to the group with the id ", *group),
                       errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return ErrnoStatus(path, "cannot be examined", errno);
    if (absl::Status status = MakeMissing(path, 0750); !status.ok()) return status;
    if (absl::Status status = GiveToGroup(path, group); !status.ok()) return status;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  }
  if (!S_ISDIR(info.st_mode)) return ErrnoStatus(path, "cannot be used", ENOTDIR);
  // Checks with the effective ids, which the files are created with.
  if (faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0 && errno != EROFS) {
    return ErrnoStatus(path, "is not writable by this user", errno);
  }
  return absl::OkStatus();
}

absl::Status MakeStateDirectory(const std::string& path) {
  const absl::Status made = MakeOwnDirectory(path);
  if (made.ok()) return CheckOwner(path);
  return absl::Status(
      made.code(),
      absl::StrCat(made.message(), "; choose another directory for the state with --state-dir"));
}

absl::Status CheckOwner(const std::string& path, bool others_files) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  if (info.st_uid != geteuid() && (!others_files || info.st_uid != 0)) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": belongs to the user with the id ", info.st_uid, ", and vmeventd runs as ",
        geteuid(), ": give it to that user, or name another directory"));
  }
  if (others_files && (info.st_mode & S_ISVTX) != 0) return absl::OkStatus();
  if ((info.st_mode & S_IWOTH) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": everybody may write there: revoke that with chmod o-w"));
  }
  // The process's own group is accepted: systems that give each user a private group use it so.
  if ((info.st_mode & S_IWGRP) != 0 && info.st_gid != getegid()) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": the group with the id ", info.st_gid,
                                                      " may write there, and vmeventd runs as ",
                                                      getegid(), ": revoke that with chmod g-w"));
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
