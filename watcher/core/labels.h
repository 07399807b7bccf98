#pragma once

#include <string>
#include <utility>
#include <vector>

namespace vmeventd {

// Keys and values, sorted by key; no key twice. VmRef.labels in vm_events.proto has the rules.
using Labels = std::vector<std::pair<std::string, std::string>>;

}  // namespace vmeventd
