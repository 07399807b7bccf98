#ifndef VMEVENTD_SERVER_HOST_PRIVILEGES_H_
#define VMEVENTD_SERVER_HOST_PRIVILEGES_H_

#include <string>
#include <vector>

namespace vmeventd {

// Gives up every capability that vmeventd has no use for, for good: it keeps of those that it has
// CAP_DAC_OVERRIDE (other users' monitors and directories), CAP_NET_ADMIN (the process connector),
// CAP_SYS_PTRACE (the exit status of zombies), CAP_CHOWN (the group of a socket) and
// CAP_NET_BIND_SERVICE (a port below 1024). Nor will a program that it starts have more. Call it
// before other threads start. False: the kernel refused.
bool DropCapabilities();

// What this process will not see or do for want of rights, a sentence each; `exit_status_source` is
// the watcher's.
std::vector<std::string> MissingRights(const std::string& exit_status_source);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_PRIVILEGES_H_
