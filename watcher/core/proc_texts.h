#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Files of /proc about a process. Pure: they are passed as texts.

namespace vmeventd {

// The arguments in the text of /proc/PID/cmdline.
std::vector<std::string> SplitCommandLine(absl::string_view text);

// Returns the systemd unit in the text of /proc/PID/cgroup or, without a unit, the cgroup; "":
// none, or it has characters other than printable ASCII.
std::string UnitOf(absl::string_view cgroups);

// The place of a core dumped by process `pid`, according to /proc/sys/kernel/core_pattern.
std::string CoreOf(absl::string_view core_pattern, int64_t pid);

// The text after `name` in the first line of a file that begins with it, without the space around;
// empty: there is none.
absl::string_view ValueInLine(absl::string_view text, absl::string_view name);

}  // namespace vmeventd
