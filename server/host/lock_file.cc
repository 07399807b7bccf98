#include "server/host/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/errno_status.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

absl::Status HeldByAnother(const std::string& path, int fd) {
  char text[32];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  const absl::string_view pid =
      absl::StripAsciiWhitespace(absl::string_view(text, size > 0 ? static_cast<size_t>(size) : 0));
  const bool number = !pid.empty() && pid.find_first_not_of("0123456789") == pid.npos;
  return absl::AlreadyExistsError(absl::StrCat(path, ": another vmeventd holds this lock (pid ",
                                               number ? std::string(pid) : std::string("unknown"),
                                               ")"));
}

// Whether `path` still names the file behind `fd`: it may have been replaced before the lock.
bool SameFile(const std::string& path, int fd) {
  struct stat by_fd {};
  struct stat by_path {};
  return fstat(fd, &by_fd) == 0 && lstat(path.c_str(), &by_path) == 0 &&
         by_fd.st_dev == by_path.st_dev && by_fd.st_ino == by_path.st_ino;
}

// Records the pid for people who find the lock held. Its length is fixed, so that rewriting needs
// no disk space; if the disk is full, the lock holds without it.
void WritePid(const std::string& path, int fd) {
  const std::string text = absl::StrFormat("%-10d\n", getpid());
  if (pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    spdlog::warn("{}", std::string(ErrnoStatus(path, "cannot write the pid", errno).message()));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<LockFile>> LockFile::Acquire(const std::string& path) {
  for (;;) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640);
    if (fd < 0) {
      return ErrnoStatus(
          path,
          errno == ELOOP ? "the lock file is a symbolic link" : "the lock file cannot be opened",
          errno);
    }
    std::unique_ptr<LockFile> lock(new LockFile(fd));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return HeldByAnother(path, fd);
      return ErrnoStatus(path, "the lock file cannot be locked", errno);
    }
    if (!SameFile(path, fd)) continue;
    WritePid(path, fd);
    return lock;
  }
}

LockFile::~LockFile() { close(fd_); }

}  // namespace vmeventd
