#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Ensures that `path` is a directory that this process may write to, even if its file system is
// read-only now. Creates a missing one with mode 0750, for `group` if that is set; missing parents
// with 0755. The error names the directory and the cause.
absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group = std::nullopt);

// FAILED_PRECONDITION: the directory belongs to another user than this process's, or another group
// or all users may write to it, and so may replace its files. With `others_files` it may belong to
// root, or have the sticky bit, which protects the files, as in /tmp.
absl::Status CheckOwner(const std::string& path, bool others_files = false);

// Takes the flock of a file, which is held until the descriptor is closed or the process ends in
// any way. The file is empty and is never removed: only the lock counts. If the file is missing and
// the disk is full or read-only, locks its directory instead. ALREADY_EXISTS: another process holds
// it; the message names the file.
absl::StatusOr<UniqueFd> LockFile(const std::string& path);

}  // namespace vmeventd
