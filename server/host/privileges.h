#ifndef VMEVENTD_SERVER_HOST_PRIVILEGES_H_
#define VMEVENTD_SERVER_HOST_PRIVILEGES_H_

#include <string>
#include <vector>

namespace vmeventd {

// Permanently drops every capability that vmeventd does not use, for itself and for programs it
// starts. It keeps, if present, CAP_DAC_OVERRIDE (other users' monitors and directories),
// CAP_NET_ADMIN (the process connector), CAP_SYS_PTRACE (the exit status of zombies), CAP_CHOWN
// (the group of a socket), CAP_NET_BIND_SERVICE (a port below 1024) and CAP_PERFMON. Call it before
// other threads start. False: the kernel refused.
bool DropCapabilities();

// Drops CAP_PERFMON, once the rings of the kernel's records are open; likewise.
bool DropPerfmon();

// Limits of this process for lack of privileges, one sentence each.
// `exit_status_source` is the watcher's.
std::vector<std::string> MissingRights(const std::string& exit_status_source);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_PRIVILEGES_H_
