#include "server/host/service_manager.h"

#include <systemd/sd-daemon.h>

#include <cstdint>
#include <ctime>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// An unreachable service manager is not vmeventd's to fix, and no reason to stop: ignore errors.
void Notify(const std::string& state) { static_cast<void>(sd_notify(0, state.c_str())); }

}  // namespace

void NotifyReady(const std::string& status) { Notify(absl::StrCat("READY=1\nSTATUS=", status)); }

void NotifyReloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  Notify(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=",
                      absl::ToInt64Microseconds(absl::DurationFromTimespec(now))));
}

void NotifyStopping(const std::string& status) {
  Notify(absl::StrCat("STOPPING=1\nSTATUS=", status));
}

void NotifyAlive(const std::string& status) { Notify(absl::StrCat("WATCHDOG=1\nSTATUS=", status)); }

absl::Duration WatchdogInterval() {
  uint64_t microseconds = 0;
  const bool on = sd_watchdog_enabled(0, &microseconds) > 0;
  return on ? absl::Microseconds(microseconds) : absl::InfiniteDuration();
}

}  // namespace vmeventd
