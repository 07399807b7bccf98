#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {

// The part of an open run that a stopping daemon hands to the next one in addition to the saved
// state: the connection to its monitor, from which nobody has read since, and the pidfd of its
// process.
struct HandedRun {
  // Limit of `state.unhandled`.
  static constexpr size_t kMaxUnhandled = 64 << 10;

  internal::HandedRunState state;
  UniqueFd connection;  // none: its manager has the monitor
  UniqueFd process;     // none: the process is not tracked
};

// The open runs that a stopping daemon hands to the next one.
struct OpenRuns {
  std::vector<HandedRun> runs;  // those that can be handed over
  // The ids of all open runs, and their VmUpdate::saved_run.
  std::vector<std::pair<std::string, std::string>> states;
};

}  // namespace vmeventd
