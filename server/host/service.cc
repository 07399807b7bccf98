#include "server/host/service.h"

#include <systemd/sd-daemon.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Ignores errors: vmeventd cannot fix an unreachable service manager, and need not stop for it.
void Notify(const std::string& state) { static_cast<void>(sd_notify(0, state.c_str())); }

absl::Duration WatchdogInterval() {
  uint64_t microseconds = 0;
  const bool on = sd_watchdog_enabled(0, &microseconds) > 0;
  return on ? absl::Microseconds(microseconds) : absl::InfiniteDuration();
}

UniqueFd TakeStoredDescriptor(const std::string& name) {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(0, &names);
  UniqueFd stored;
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    if (names[i] == name) stored = std::move(fd);
    free(names[i]);
  }
  free(names);
  return stored;
}

bool HasServiceManager() {
  const char* const socket = getenv("NOTIFY_SOCKET");
  return socket != nullptr && *socket != '\0';
}

absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout) {
  const std::string state = absl::StrCat("FDSTORE=1\nFDNAME=", name, "\nFDPOLL=0");
  int result = sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
  if (result > 0) {
    result = sd_notify_barrier(0, static_cast<uint64_t>(absl::ToInt64Microseconds(timeout)));
  }
  if (result > 0) return absl::OkStatus();
  if (result == 0) return absl::FailedPreconditionError("there is no service manager");
  return absl::ErrnoToStatus(-result, "the service manager does not accept them");
}

}  // namespace vmeventd
