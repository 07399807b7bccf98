#ifndef VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_
#define VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_

#include <string>

#include "absl/time/time.h"

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

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_SERVICE_MANAGER_H_
