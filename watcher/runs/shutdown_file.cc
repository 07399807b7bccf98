#include "watcher/runs/shutdown_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

constexpr mode_t kMode = 0644;

std::string PathOf(const std::string& directory, const std::string& vm_name) {
  return absl::StrCat(directory, "/", vm_name, ".shutdown");
}

absl::Status Failed(absl::string_view verb, const std::string& path, int error) {
  return absl::ErrnoToStatus(
      error, absl::StrCat("cannot ", verb, " the shutdown file ", absl::CHexEscape(path)));
}

// Creates the file. ALREADY_EXISTS: there is already something at the path.
absl::Status CreateNew(const std::string& path) {
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
  if (!file.valid() || fchmod(file.get(), kMode) != 0) return Failed("create", path, errno);
  return absl::OkStatus();
}

}  // namespace

absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name) {
  const std::string path = PathOf(directory, vm_name);
  absl::Status status = CreateNew(path);
  if (!absl::IsAlreadyExists(status)) return status;

  // O_PATH: to open a FIFO or a device could block or have an effect. The descriptor also ensures
  // that the file that was checked is the one that is renewed, even if another takes its name.
  const UniqueFd file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat there;
  if (!file.valid() || fstat(file.get(), &there) != 0) return Failed("renew", path, errno);
  if (!S_ISREG(there.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("cannot create the shutdown file ",
                                                      absl::CHexEscape(path),
                                                      ": it is not a regular file; remove it"));
  }
  if (there.st_nlink > 1) {
    // The other link of the file is not changed.
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("replace", path, errno);
    return CreateNew(path);
  }
  const std::string held = absl::StrCat("/proc/self/fd/", file.get());
  if (utimensat(AT_FDCWD, held.c_str(), nullptr, 0) != 0) return Failed("renew", path, errno);
  return absl::OkStatus();
}

absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name) {
  const std::string path = PathOf(directory, vm_name);
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed("remove", path, errno);
}

}  // namespace vmeventd
