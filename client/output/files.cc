#include "client/output/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/sync_directory.h"
#include "base/unique_fd.h"
#include "client/output/terminal_text.h"
#include "client/output/write_fully.h"

namespace vmeventd::client {
namespace {

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", EscapeForTerminal(path), ": ", strerror(error)));
}

absl::Status Refused(const std::string& path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(EscapeForTerminal(path), " ", why));
}

// Opens a regular file that has no other name, and never waits. NOT_FOUND: there is no such file.
// FAILED_PRECONDITION: it is a link or another kind of file.
absl::StatusOr<UniqueFd> OpenPlain(const std::string& path, int flags, struct stat* found) {
  UniqueFd file(open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  const int error = file.valid() ? 0 : errno;
  if (error == ENOENT) {
    return absl::NotFoundError(absl::StrCat(EscapeForTerminal(path), " does not exist"));
  }
  found->st_mode = S_IFLNK;
  if (error != 0 && error != ELOOP) return Failed("open", path, error);
  if (error == 0 && fstat(file.get(), found) != 0) return Failed("examine", path, errno);
  const bool regular = S_ISREG(found->st_mode);
  if (regular && found->st_nlink == 1) return file;
  return Refused(path, absl::StrCat(S_ISLNK(found->st_mode) ? "is a symbolic link"
                                    : regular               ? "has another name (a hard link)"
                                                            : "is not a regular file",
                                    "; name a regular file of its own"));
}

absl::Status WriteAll(int descriptor, absl::string_view content, const std::string& path) {
  const int error = WriteFully(descriptor, content);
  if (error != 0) return Failed("write", path, error);
  return fsync(descriptor) == 0 ? absl::OkStatus() : Failed("sync", path, errno);
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content, mode_t mode) {
  const std::string name = path.substr(path.rfind('/') + 1);  // the whole path if it has no slash
  const std::string fresh = absl::StrCat(DirectoryOf(path), "/.", name, ".new");
  struct stat found {};
  const absl::StatusOr<UniqueFd> old = OpenPlain(path, O_PATH, &found);
  if (!old.ok() && !absl::IsNotFound(old.status())) return old.status();
  if (old.ok()) mode = found.st_mode & 0777;
  // A crash may have left one.
  if (unlink(fresh.c_str()) != 0 && errno != ENOENT) return Failed("remove", fresh, errno);
  {
    const UniqueFd file(
        open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.valid()) return Failed("create", fresh, errno);
    absl::Status written = fchmod(file.get(), mode) == 0 ? WriteAll(file.get(), content, fresh)
                                                         : Failed("chmod", fresh, errno);
    if (!written.ok()) {
      unlink(fresh.c_str());
      return written;
    }
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) return Failed("replace", path, errno);
  return SyncDirectoryOf(path);
}

absl::Status AppendDurably(const std::string& path, absl::string_view lines, uint64_t max_bytes) {
  struct stat found {};
  const absl::StatusOr<UniqueFd> file = OpenPlain(path, O_RDWR | O_APPEND | O_CREAT, &found);
  if (!file.ok()) return file.status();
  if (found.st_uid != geteuid() || (found.st_mode & 077) != 0) {
    return Refused(
        path, "belongs to another user, or others may use it; chown it to this user, chmod go= it");
  }
  const auto size = static_cast<uint64_t>(found.st_size);
  if (size + lines.size() > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(EscapeForTerminal(path), " is full (", max_bytes, " bytes); move it away"));
  }
  // A crash may have torn the last line.
  char last = '\n';
  if (size > 0 && pread(file->get(), &last, 1, found.st_size - 1) != 1) {
    return Failed("read", path, errno);
  }
  absl::Status status = WriteAll(file->get(), absl::StrCat(last == '\n' ? "" : "\n", lines), path);
  if (status.ok() && size == 0) status = SyncDirectoryOf(path);
  // If this fails too, the torn line remains, and the next line begins after it.
  if (!status.ok()) (void)!ftruncate(file->get(), found.st_size);
  return status;
}

absl::StatusOr<std::string> ReadPlainFile(const std::string& path, size_t limit) {
  struct stat found {};
  const absl::StatusOr<UniqueFd> file = OpenPlain(path, O_RDONLY, &found);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::string> content = ReadSmallFile(file->get(), path, limit + 1);
  if (content.ok() && content->size() > limit) {
    return Refused(path, absl::StrCat("has more than ", limit, " bytes"));
  }
  return content;
}

}  // namespace vmeventd::client
