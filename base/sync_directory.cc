#include "base/sync_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace vmeventd {

absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(directory, "cannot be opened", errno);
  // EINVAL: this file system has nothing to sync there.
  if (fsync(fd.get()) == 0 || errno == EINVAL) return absl::OkStatus();
  return ErrnoStatus(directory, "cannot be synced", errno);
}

}  // namespace vmeventd
