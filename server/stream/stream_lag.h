#pragma once

#include <cstdint>

namespace vmeventd {

// Distance of the open streams from the newest event.
struct StreamLag {
  int behind = 0;  // streams that are not at the newest event
  uint64_t max_events = 0;
  uint64_t summed_events = 0;
};

}  // namespace vmeventd
