#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// Returns the node's permanent id, a UUID that does not depend on the node's name: systemd's
// application-specific id, which does not reveal the machine id (`systemd-id128 machine-id
// --app-specific=…`); or StoredNodeId() without a machine id, as in many containers. An error names
// the file.
absl::StatusOr<std::string> NodeId(const std::string& state_dir);
// Returns the id in `state_dir`/node_id, which is created if there is none.
absl::StatusOr<std::string> StoredNodeId(const std::string& state_dir);

}  // namespace vmeventd
