#ifndef VMEVENTD_SERVER_HOST_NODE_ID_H_
#define VMEVENTD_SERVER_HOST_NODE_ID_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Which node this is, whatever it is called.

namespace vmeventd {

// The UUID that vmeventd derives from the 32 hex digits of a machine id, as
// sd_id128_get_machine_app_specific(3) does: the machine id cannot be derived from it.
// INVALID_ARGUMENT: they are no machine id.
absl::StatusOr<std::string> NodeIdOfMachine(absl::string_view machine_id);

// The node's id, a UUID that stays: from `machine_id_file`, /etc/machine-id of the node, or where
// that holds none, of the file `state_dir`/node_id, which is made. An error names the file.
absl::StatusOr<std::string> NodeId(const std::string& state_dir,
                                   const std::string& machine_id_file = "/etc/machine-id");

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_NODE_ID_H_
