#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// State of the host's shutdown, as its service managers report it.
struct HostShutdownState {
  bool known = false;  // somebody has reported it, or there is nobody to ask
  bool shutting_down = false;
  std::string by;       // the last to report it, for people
  std::string problem;  // reason why nobody reports it now, for people; empty: somebody does
};

// This folder's border to the outside; tests have a fake of it. Loop thread.
class HostShutdownApi {
 public:
  virtual ~HostShutdownApi() = default;
  // Descriptor that is readable, level-triggered, while Read() has something to do.
  virtual int fd() const = 0;
  // Handles pending reports, without waiting.
  virtual HostShutdownState Read() = 0;
};

// Listens on the system bus (sd-bus) to systemd-logind, whose PrepareForShutdown says that the host
// begins to power off, to reboot or to kexec, or has cancelled that; and to systemd, whose job for
// shutdown.target says the same of a shutdown past logind. Takes no lock, starts neither, and
// believes no other sender. Connects, and again 5 s after a connection was lost, 320 s at most
// where that fails, without waiting. The last report holds while nobody can be asked: the bus may
// end before the VMs. The error names the call that failed.
absl::StatusOr<std::unique_ptr<HostShutdownApi>> ListenOnSystemBus();

}  // namespace vmeventd
