#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace vmeventd {

// The saved state of an open run; an empty `payload`: the run is over.
struct SavedRun {
  std::string payload;
  uint64_t last_sequence = 0;  // the run's newest event
};
using SavedRuns = std::map<std::string, SavedRun>;  // by run_id

}  // namespace vmeventd
