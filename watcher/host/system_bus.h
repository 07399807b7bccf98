#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {

// Listens on the system bus (sd-bus) to systemd-logind, whose PrepareForShutdown signals that the
// host begins to power off, to reboot or to kexec, or has cancelled that; and to systemd, whose job
// for shutdown.target shows the same for a shutdown that bypasses logind. Takes no inhibitor lock,
// starts neither service, and ignores other senders. Does not block. Reconnects 5 s after a
// connection was lost; the delay grows to 320 s while that fails. The last report stays valid
// without a connection: the bus may end before the VMs. The error names the call that failed.
absl::StatusOr<std::unique_ptr<HostShutdownApi>> ListenOnSystemBus();

}  // namespace vmeventd
