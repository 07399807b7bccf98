#include "watcher/io/shutdown_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "watcher/io/unique_fd.h"

namespace vmeventd {
namespace {

constexpr mode_t kMode = 0644;

UniqueFd OpenDirectory(const std::string& directory) {
  return UniqueFd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

absl::Status Failed(absl::string_view verb, const std::string& directory, const std::string& file,
                    int error) {
  return absl::ErrnoToStatus(error,
                             absl::StrCat("cannot ", verb, " the shutdown file ",
                                          absl::CHexEscape(absl::StrCat(directory, "/", file))));
}

// ALREADY_EXISTS where anything is in its place.
absl::Status CreateIn(const UniqueFd& parent, const std::string& directory,
                      const std::string& name) {
  const UniqueFd file(openat(parent.get(), name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
  if (!file.valid() || fchmod(file.get(), kMode) != 0) {
    return Failed("create", directory, name, errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name) {
  const std::string name = vm_name + ".shutdown";
  const UniqueFd parent = OpenDirectory(directory);
  if (!parent.valid()) return Failed("create", directory, name, errno);

  absl::Status status = CreateIn(parent, directory, name);
  if (!absl::IsAlreadyExists(status)) return status;

  struct stat there;
  if (fstatat(parent.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed("renew", directory, name, errno);
  }
  if (!S_ISREG(there.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot create the shutdown file ", absl::CHexEscape(absl::StrCat(directory, "/", name)),
        ": something that is no regular file is in its place"));
  }
  if (there.st_nlink > 1) {
    // It is another file too, which is none of our business.
    if (unlinkat(parent.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      return Failed("replace", directory, name, errno);
    }
    return CreateIn(parent, directory, name);
  }
  // By its name, since to open what may be there by now could wait for somebody or set something
  // off.
  if (utimensat(parent.get(), name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0) {
    return Failed("renew", directory, name, errno);
  }
  return absl::OkStatus();
}

absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name) {
  const std::string name = vm_name + ".shutdown";
  const UniqueFd parent = OpenDirectory(directory);
  if (parent.valid() ? unlinkat(parent.get(), name.c_str(), 0) == 0 : false) {
    return absl::OkStatus();
  }
  if (errno == ENOENT) return absl::OkStatus();
  return Failed("remove", directory, name, errno);
}

std::optional<absl::Time> OwnShutdownFileTime(const std::string& directory,
                                              const std::string& vm_name) {
  struct stat status;
  if (lstat(absl::StrCat(directory, "/", vm_name, ".shutdown").c_str(), &status) != 0 ||
      !S_ISREG(status.st_mode) || status.st_uid != geteuid()) {
    return std::nullopt;
  }
  // The ctime cannot be set, and the mtime is not changed by a chmod.
  return std::min(absl::TimeFromTimespec(status.st_ctim), absl::TimeFromTimespec(status.st_mtim));
}

}  // namespace vmeventd
