#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Longest time from the start, or from the disk's response, until the service manager is notified
// that the daemon is ready: it starts the managers of VMs after that, so waiting for a libvirt that
// is not started yet would never end. The health service waits for the first scan.
inline constexpr absl::Duration kReadyTimeout = absl::Seconds(2);

// Sends `state`, lines NAME=VALUE, to systemd if systemd started this process (sd_notify(3)). Any
// thread.
void Notify(const std::string& state);
// Returns systemd's watchdog interval; infinite: there is no watchdog.
absl::Duration WatchdogInterval();

// Returns the descriptor that the service manager has stored as `name` and passed to this process
// at its start; invalid: there is none. Closes the others. Call it once.
UniqueFd TakeStoredDescriptor(const std::string& name);
bool HasServiceManager();
// Gives the service manager a copy of `fd` to store as `name`, even if nothing holds its other end,
// and to pass to the next process of this service. The manager drops it if the unit lacks
// FileDescriptorStoreMax=, or if the service is stopped and not started again. Waits up to
// `timeout` until the manager has it. The error is the reason why it cannot be stored.
absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout);

}  // namespace vmeventd
