#pragma once

#include <cstdlib>

#include "absl/strings/string_view.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// Returns whether the watcher's health service with this name serves. The watcher must have it.
inline bool Serves(const NodeWatcher& watcher, absl::string_view service) {
  for (const ServiceHealth& health : watcher.Health()) {
    if (health.service == service) return health.serves;
  }
  std::abort();
}

}  // namespace vmeventd
