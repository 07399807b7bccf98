#include "server/host/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"

namespace vmeventd {

absl::StatusOr<UniqueFd> LockFile(const std::string& path) {
  std::string locked = path;
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!fd.valid() && (errno == EROFS || errno == ENOSPC || errno == EDQUOT)) {
    locked = path.substr(0, path.rfind('/'));
    fd = UniqueFd(open(locked.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (!fd.valid()) {
    return ErrnoStatus(
        path,
        errno == ELOOP ? "the lock file is a symbolic link" : "the lock file cannot be opened",
        errno);
  }
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return ErrnoStatus(locked, "the lock file cannot be locked", errno);
  return absl::AlreadyExistsError(
      absl::StrCat(locked,
                   ": another vmeventd holds this lock: stop it, wait for it if it is ending, "
                   "or use another directory or socket"));
}

}  // namespace vmeventd
