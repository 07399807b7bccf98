#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/system.h"

namespace vmeventd {

// Ensures that `path` is a directory that this process can write to, or could if its file system
// were not read-only. A missing one is created with mode 0750, for `group` if that is set; missing
// parents with 0755. The error names the directory and the cause.
absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group = std::nullopt);

// FAILED_PRECONDITION: the directory belongs to another user than this process's, or others or
// another group may write to it. Its contents cannot be trusted then.
absl::Status CheckOwner(const std::string& path);

// FAILED_PRECONDITION: the directory belongs to neither root nor this process's user, or others or
// another group may replace its files (the sticky bit, as on /tmp, forbids that). A socket in such
// a directory could be replaced by another user's.
absl::Status CheckNobodyElseReplaces(const std::string& path);

// Takes the flock of a file, which is held until the descriptor is closed or the process ends in
// any way. The file holds the owner's pid and is never removed: only the lock counts. Where the
// disk is full or read-only and there is no such file, its directory is locked.
// ALREADY_EXISTS: another process holds it; the message names the file and the pid.
absl::StatusOr<UniqueFd> LockFile(const std::string& path);

// The node's identity, which does not change with its name.

// Derives the node's UUID from the 32 hex digits of a machine id, as
// sd_id128_get_machine_app_specific(3) does: the machine id cannot be recovered from it.
// INVALID_ARGUMENT: not a machine id.
absl::StatusOr<std::string> NodeIdOfMachine(absl::string_view machine_id);

// Returns the node's permanent id, a UUID: derived from `machine_id_file`, or if that holds no
// machine id, stored in `state_dir`/node_id, which is created if missing. An error names the file.
absl::StatusOr<std::string> NodeId(const std::string& state_dir,
                                   const std::string& machine_id_file = "/etc/machine-id");

}  // namespace vmeventd
