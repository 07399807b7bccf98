#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vmeventd {

// Confirms or refutes `damage`, a DATA_LOSS of the database at `path`, on a separate connection: a
// temporary read error looks like damage. Returns
//   OK           the file passes the check
//   DATA_LOSS    the damage is confirmed, or the check has not ended within kMaxCheck
//   UNAVAILABLE  the file cannot be read now: try again
absl::Status QuickCheck(const std::string& path, const absl::Status& damage);
inline constexpr absl::Duration kMaxCheck = absl::Minutes(1);
// The same for damage that SQLite has just reported, so that the call that it ended has failed.
// UNAVAILABLE if the file passes as well: try again.
absl::Status CheckDatabase(const std::string& path, const absl::Status& damage);

}  // namespace vmeventd
