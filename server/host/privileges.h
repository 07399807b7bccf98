#pragma once

#include <cstddef>
#include <cstdint>
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

// Limits of this process for lack of privileges, one sentence each.
// `exit_status_source` is the watcher's.
std::vector<std::string> MissingRights(const std::string& exit_status_source);

// Raises this process's soft limit of open descriptors to the hard limit, if allowed. Returns the
// limit then in force.
uint64_t RaiseDescriptorLimit();

// Shares of `limit` descriptors: VMs get what listeners do not need, and at least three
// quarters, so that a low limit costs connections first. Each of `listeners` wants `wanted`.
struct DescriptorShares {
  int vms;
  int listener;  // share of each
};
DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int wanted);

}  // namespace vmeventd
