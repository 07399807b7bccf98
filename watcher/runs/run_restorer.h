#pragma once

#include <map>
#include <string>
#include <vector>

#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

using SourcesByKey = std::map<std::string, RunSource*>;  // SourceKind::key

// Finds out for each run that the previous daemon left open whether it is still open or has ended.
// `saved_runs` are texts of VmSession::Save(), `handed_runs` those of them that were handed over. A
// run is given to the source of its key; a run of an unknown key is dropped, logged and counted as
// unreadable. Returns whether every run continues with its monitor, so that nothing was missed.
// Call it once, before the sources start. Loop thread.
bool RestoreRuns(RunContext* context, RunTable* table, const SourcesByKey& sources,
                 const std::vector<std::string>& saved_runs, std::vector<HandedRun> handed_runs);

}  // namespace vmeventd
