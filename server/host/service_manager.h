#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

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

// A descriptor that the service manager has kept, or listens on for this process.
struct StoredDescriptor {
  std::string name;
  UniqueFd fd;
};
// Returns the descriptors that it passed to this process at its start and whose names `wanted`
// accepts. Take each once.
std::vector<StoredDescriptor> TakeStoredDescriptors(
    absl::FunctionRef<bool(absl::string_view name)> wanted);
bool HasServiceManager();
// Has it keep `fd`, which stays the caller's, as `name`, even if nothing holds its other end, and
// pass it to the next process of this service. It forgets it without FileDescriptorStoreMax= in the
// unit, and when the service is stopped and not started again. Waits for at most `timeout` until it
// has it, with zero not at all. An error says why not.
absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout);
// Has it close all that it keeps as `name`.
void RemoveStoredDescriptors(const std::string& name);

}  // namespace vmeventd
