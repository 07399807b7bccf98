#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {

// The open runs that the previous daemon left to this one, for NodeWatcher::Create().
struct PreviousRuns {
  // There was a previous daemon. Events since it ended may be missing, unless it handed over
  // everything.
  bool daemon_existed = false;
  // That daemon handed over its log, and with it all of its open runs.
  bool is_handover = false;
  // `saved` has all runs that were open. False: the state that the previous daemon saved is missing
  // or could not be read.
  bool are_known = true;
  // The runs as VmUpdate::saved_run had them. The first turns of the loop publish for each run
  // either its status (it continues; with its saved_run, which the journal may lack) or STOPPED (it
  // has ended).
  std::vector<std::string> saved = {};
  // Those of them that were handed over.
  std::vector<HandedRun> handed = {};
  // That daemon's NodeWatcher::exit_status_socket(), to be resumed for `handed`; invalid: none.
  UniqueFd exit_statuses = {};
};

}  // namespace vmeventd
