#include "client/push/set_aside_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr mode_t kOwnerOnly = 0600;

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", EscapeForTerminal(path), ": ", strerror(error)));
}

absl::Status CheckKind(const std::string& path, const struct stat& found) {
  const auto refuse = [&path](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(EscapeForTerminal(path), " ", what));
  };
  if (!S_ISREG(found.st_mode)) return refuse("is not a regular file; move it away");
  if (found.st_nlink > 1) return refuse("has another name (a hard link); remove that");
  if (found.st_uid != geteuid()) return refuse("is another user's; move it away");
  if ((found.st_mode & 077) != 0) return refuse("may be read by others; make its mode 0600");
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  const UniqueFd parent(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid() || fsync(parent.get()) != 0) return Failed("sync", directory, errno);
  return absl::OkStatus();
}

absl::Status WriteAll(int descriptor, absl::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path, errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(descriptor) == 0 ? absl::OkStatus() : Failed("sync", path, errno);
}

}  // namespace

absl::Status SetAsideFile::Append(absl::string_view lines) const {
  const UniqueFd file(open(path_.c_str(),
                           O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                           kOwnerOnly));
  if (!file.valid() && errno == ELOOP) {
    return absl::FailedPreconditionError(
        absl::StrCat(EscapeForTerminal(path_), " is a symbolic link; move it away"));
  }
  if (!file.valid()) return Failed("open", path_, errno);
  struct stat found {};
  if (fstat(file.get(), &found) != 0) return Failed("look at", path_, errno);
  if (absl::Status kind = CheckKind(path_, found); !kind.ok()) return kind;
  const auto size = static_cast<uint64_t>(found.st_size);
  if (size + lines.size() > most_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(EscapeForTerminal(path_), " is full (", most_bytes_, " bytes); move it away"));
  }
  // A crash may have torn the last line.
  char last = '\n';
  if (size > 0 && pread(file.get(), &last, 1, found.st_size - 1) != 1) {
    return Failed("read", path_, errno);
  }
  absl::Status status =
      WriteAll(file.get(), last == '\n' ? std::string(lines) : absl::StrCat("\n", lines), path_);
  if (status.ok() && size == 0) status = SyncDirectoryOf(path_);
  // Should this fail too, the line that was torn stands there, and the next begins after it.
  if (!status.ok()) (void)!ftruncate(file.get(), found.st_size);
  return status;
}

}  // namespace vmeventd::client
