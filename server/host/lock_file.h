#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Takes the flock of a file, which is held until the descriptor is closed or the process ends in
// any way. The file is empty and is never removed: only the lock counts. If the file is missing and
// the disk is full or read-only, locks its directory instead. ALREADY_EXISTS: another process holds
// it; the message names the file.
absl::StatusOr<UniqueFd> LockFile(const std::string& path);

}  // namespace vmeventd
