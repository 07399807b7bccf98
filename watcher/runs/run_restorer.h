#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/system.h"
#include "vmeventd/internal/run_state.pb.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

// An open run as a daemon that stops hands it to the next one, in addition to its saved state: with
// the connection to its monitor, from which nobody has read since, and the pidfd of its process.
struct HandedRun {
  // Limit of `state.unhandled`.
  static constexpr size_t kMaxUnhandled = 64 << 10;

  internal::HandedRun state;
  UniqueFd connection;  // none: libvirt reports it
  UniqueFd process;     // none: the process is not tracked
};
struct OpenRuns {
  std::vector<HandedRun> runs;  // those that can be handed over
  // The ids of all open runs, and their VmUpdate::saved_run.
  std::vector<std::pair<std::string, std::string>> states;
};

// Finds out of each run that the daemon before this one left open whether it still is or has ended.
// `saved_runs` are texts of VmSession::Save(), `handed_runs` what of them was handed over. A run is
// given to the first of `sources` that takes it. Call it once, before the sources start. Loop
// thread.
void RestoreRuns(RunContext* context, RunTable* table, const std::vector<RunSource*>& sources,
                 const std::vector<std::string>& saved_runs, std::vector<HandedRun> handed_runs);

}  // namespace vmeventd
