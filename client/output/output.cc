#include "client/output/output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

absl::Status DescriptorOutput::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      // Another process that shares the descriptor may have made it non-blocking.
      pollfd waiting = {descriptor_, POLLOUT, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    if (errno == EPIPE) return absl::CancelledError("the reader of the output has gone");
    return absl::UnavailableError(
        absl::StrCat("cannot write to standard output: ", strerror(errno)));
  }
  return absl::OkStatus();
}

namespace {

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", EscapeForTerminal(path), ": ", strerror(error)));
}

absl::Status CheckKind(const std::string& path, const struct stat& found) {
  const auto refuse = [&path](absl::string_view what) {
    return absl::FailedPreconditionError(
        absl::StrCat(EscapeForTerminal(path), " ", what, "; name a regular file of its own"));
  };
  if (S_ISLNK(found.st_mode)) return refuse("is a symbolic link");
  if (!S_ISREG(found.st_mode)) return refuse("is not a regular file");
  if (found.st_nlink > 1) return refuse("has another name (a hard link)");
  return absl::OkStatus();
}

absl::Status WriteAll(int descriptor, absl::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path, errno);
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content, mode_t mode) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string fresh = absl::StrCat(directory, "/.", name, ".new");
  struct stat found {};
  if (lstat(path.c_str(), &found) == 0) {
    if (absl::Status kind = CheckKind(path, found); !kind.ok()) return kind;
    mode = found.st_mode & 0777;
  } else if (errno != ENOENT) {
    return Failed("look at", path, errno);
  }
  // A crash may have left one.
  if (unlink(fresh.c_str()) != 0 && errno != ENOENT) return Failed("remove", fresh, errno);
  {
    const UniqueFd file(
        open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.valid()) return Failed("create", fresh, errno);
    absl::Status written = WriteAll(file.get(), content, fresh);
    if (written.ok() && fchmod(file.get(), mode) != 0) written = Failed("chmod", fresh, errno);
    if (written.ok() && fsync(file.get()) != 0) written = Failed("sync", fresh, errno);
    if (!written.ok()) {
      unlink(fresh.c_str());
      return written;
    }
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) return Failed("replace", path, errno);
  const UniqueFd parent(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid() || fsync(parent.get()) != 0) return Failed("sync", directory, errno);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadPlainFile(const std::string& path, size_t limit) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat(path, " does not exist"));
    return Failed("look at", path, errno);
  }
  const absl::Status kind = CheckKind(path, found);
  if (!kind.ok()) return kind;
  // Nothing can block the open(): the file may have been replaced since.
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid()) return Failed("read", path, errno);
  std::string content(limit + 1, '\0');
  size_t size = 0;
  while (size < content.size()) {
    const ssize_t got = read(file.get(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > limit) {
    return absl::FailedPreconditionError(
        absl::StrCat(EscapeForTerminal(path), " has more than ", limit, " bytes"));
  }
  content.resize(size);
  return content;
}

}  // namespace vmeventd::client
