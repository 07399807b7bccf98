#pragma once

#include <optional>

#include "client/connect/failure.h"
#include "client/sources/daemon_node.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Reads the server's own state.
std::optional<Failure> ReadInfo(const DaemonNode& daemon, v1::GetServerInfoResponse* info);

}  // namespace vmeventd::client
