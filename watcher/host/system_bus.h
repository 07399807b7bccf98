#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "watcher/host/host_shutdown_api.h"

namespace vmeventd {

// Listens on the system bus (sd-bus) to systemd-logind, whose PrepareForShutdown says that the host
// begins to power off, to reboot or to kexec, or has cancelled that; and to systemd, whose job for
// shutdown.target says the same of a shutdown past logind. Takes no lock, starts neither, and
// believes no other sender. Connects, and again 5 s after a connection was lost, 320 s at most
// where that fails, without waiting. The last report holds while nobody can be asked: the bus may
// end before the VMs. The error names the call that failed.
absl::StatusOr<std::unique_ptr<HostShutdownApi>> ListenOnSystemBus();

}  // namespace vmeventd
