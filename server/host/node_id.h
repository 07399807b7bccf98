#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The node's identity, which does not change with its name.

namespace vmeventd {

// Derives the node's UUID from the 32 hex digits of a machine id, as
// sd_id128_get_machine_app_specific(3) does: the machine id cannot be recovered from it.
// INVALID_ARGUMENT: not a machine id.
absl::StatusOr<std::string> NodeIdOfMachine(absl::string_view machine_id);

// Returns the node's permanent id, a UUID: derived from `machine_id_file`, or if that holds no
// machine id, kept in `state_dir`/node_id, which is created if missing. An error names the file.
absl::StatusOr<std::string> NodeId(const std::string& state_dir,
                                   const std::string& machine_id_file = "/etc/machine-id");

}  // namespace vmeventd
