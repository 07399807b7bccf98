#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// The number of recent ends of a VM, or of a node's VMs.

namespace vmeventd::client {

// Time back from now in which ends are counted.
inline constexpr absl::Duration kCountedEnds = absl::Hours(24);
// "3 in the last 24 h: USER 1, CRASH 2".
std::string EndsText(const std::map<v1::ShutdownClass, int>& ends, absl::Duration window);

}  // namespace vmeventd::client
