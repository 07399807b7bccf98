#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/system.h"

// Notifies systemd if it started this process (sd_notify(3)); otherwise does nothing. Any thread.

namespace vmeventd {

// The daemon is ready, or ready again after a reload. `systemctl status` shows `status`, one line
// for people.
void NotifyReady(const std::string& status);
void NotifyReloading();
void NotifyStopping(const std::string& status);
// The daemon is alive. If this is not called for WatchdogInterval, systemd kills and restarts it.
void NotifyAlive(const std::string& status);
// Infinite: there is no watchdog.
absl::Duration WatchdogInterval();

// A descriptor that the service manager has stored, or listens on for this process.
struct StoredDescriptor {
  std::string name;
  UniqueFd fd;
};
// Returns the descriptors that it passed to this process at its start. Call it once.
std::vector<StoredDescriptor> TakeStoredDescriptors();
bool HasServiceManager();
// Has it store `fd`, which stays the caller's, as `name`, even if nothing holds its other end, and
// pass it to the next process of this service. It drops it without FileDescriptorStoreMax= in the
// unit, and when the service is stopped and not started again. Waits up to `timeout` until it has
// it. The error says why it cannot be stored.
absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout);
// Has it close all that it has stored as `name`.
void RemoveStoredDescriptors(const std::string& name);

}  // namespace vmeventd
