#pragma once

#include <cstdint>
#include <string>

// Reasons why a process that lives does not run.

namespace vmeventd {

// Returns the directory of the cgroup (v1 or v2) that freezes the process `pid`; empty: it is not
// frozen, or that cannot be read.
std::string FrozenCgroup(int64_t pid);

// The same for the text of a /proc/PID/cgroup; `mount_point` is that of all cgroups.
std::string FrozenCgroup(const std::string& cgroups, const std::string& mount_point);

// Returns whether the kernel is writing a core dump of the process `pid`; also false if that cannot
// be read.
bool DumpsCore(int64_t pid);

}  // namespace vmeventd
