#pragma once

#include <cstdint>
#include <string>

// Why a process that lives does not run.

namespace vmeventd {

// The directory of the cgroup with which the process `pid` is frozen, by cgroup v1 or v2; empty:
// it is not, or that cannot be read.
std::string FrozenCgroup(int64_t pid);

// The same for the text of its /proc/PID/cgroup, below the mount point of all cgroups.
std::string FrozenCgroup(const std::string& cgroups, const std::string& mount_point);

// Returns whether the kernel writes the core of the process `pid`. False as well where that cannot
// be read.
bool DumpsCore(int64_t pid);

}  // namespace vmeventd
