#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vmeventd {

// The time up to which the daemon has watched, stored in the file `alive` next to the database:
// everything that happened to VMs until then is in the journal. Not synced: after a loss of power,
// it may be an earlier time. Both may block while the disk hangs.

// Returns InfinitePast if it is not known.
absl::Time ReadAlive(const std::string& journal_path);
absl::Status WriteAlive(const std::string& journal_path, absl::Time until);

}  // namespace vmeventd
