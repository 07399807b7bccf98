#ifndef VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_
#define VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_

#include <string>

#include "absl/time/time.h"

// Notifications for systemd, where it started this process (sd_notify(3)); elsewhere they do
// nothing. Any thread.

namespace vmeventd {

// The daemon is ready, or ready again. `status` is a line for people, as `systemctl status` shows.
void NotifyReady(const std::string& status);
void NotifyReloading();
void NotifyStopping(const std::string& status);
// The daemon is alive. Without this for WatchdogInterval, systemd kills it and starts it again.
void NotifyAlive(const std::string& status);
// Infinite: nobody waits for NotifyAlive.
absl::Duration WatchdogInterval();

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_
