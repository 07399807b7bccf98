#pragma once

#include <string>
#include <vector>

namespace vmeventd {

// Permanently drops every capability that vmeventd does not use, for itself and for programs it
// starts. It retains, if present, CAP_DAC_OVERRIDE (other users' monitors and directories),
// CAP_NET_ADMIN (the process connector), CAP_SYS_PTRACE (the exit status of zombies), CAP_CHOWN
// (the group of a socket), CAP_NET_BIND_SERVICE (a port below 1024), and CAP_BPF and CAP_PERFMON.
// Call it before other threads start. False: the kernel refused.
bool DropCapabilities();

// Drops CAP_BPF and CAP_PERFMON, once the kernel records signals. False: the kernel refused.
bool DropTracing();

// Returns what this process cannot do because it lacks privileges, one sentence each.
// `needs_exit_statuses`: the watcher wants exit statuses, and has no source of them.
std::vector<std::string> MissingRights(bool needs_exit_statuses);

}  // namespace vmeventd
