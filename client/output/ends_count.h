#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// How often a VM, or a node's VMs, ended of late.

namespace vmeventd::client {

// Ends within this time are counted.
inline constexpr absl::Duration kCountedEnds = absl::Hours(24);
// "3 in the last 24 h: USER 1, CRASH 2".
std::string EndsText(const std::map<v1::ShutdownClass, int>& ends, absl::Duration window);

}  // namespace vmeventd::client
