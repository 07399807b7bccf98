#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace vmeventd {

// Ensures that `path` is a directory that this process may write to, even if its file system is
// read-only now. Creates a missing one with mode 0750, for `group` if that is set; missing parents
// with 0755. The error names the directory and the cause.
absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group = std::nullopt);

// Ensures that the state directory exists and is this process's own. If it cannot be made or
// written to, the error also names the flag that chooses another one.
absl::Status MakeStateDirectory(const std::string& path);

// FAILED_PRECONDITION: the directory belongs to another user than this process's, or another group
// or all users may write to it, and so may replace its files. With `others_files` it may belong to
// root, or have the sticky bit, which protects the files, as in /tmp.
absl::Status CheckOwner(const std::string& path, bool others_files = false);

}  // namespace vmeventd
