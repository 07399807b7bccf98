#pragma once

#include <cstdint>

namespace vmeventd {

// Sequences that are in no journal and that no GAP names. Some of them may never have had an event.
struct Hole {
  uint64_t first = 0;
  uint64_t last = 0;

  bool empty() const { return last == 0; }
};

}  // namespace vmeventd
