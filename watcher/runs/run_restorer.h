#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "vmeventd/internal/run_state.pb.h"
#include "watcher/runs/run_table.h"
#include "watcher/session/vm_session.h"

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

// The runs that the daemon before this one left open: finds out of each whether it is open still or
// has ended. Loop thread.
class RunRestorer {
 public:
  // `saved_runs` are texts of VmSession::Save(), `handed_runs` what of them was handed over. A run
  // is given to the first of `sources` that takes it. The rest outlives the restorer.
  RunRestorer(RunContext* context, const SessionOptions* session_options, RunTable* table,
              std::vector<RunSource*> sources, std::vector<std::string> saved_runs,
              std::vector<HandedRun> handed_runs);
  ~RunRestorer();

  // Call it once.
  void Restore();

 private:
  // Returns the ids of the runs that are in the table then, oldest first.
  std::vector<std::string> ReadSavedRuns();
  void Refuse(absl::string_view why, absl::string_view text);
  // Closes what was handed over and is not used.
  void Close(HandedRun handed);
  // Returns whether `run` continues with what was handed over.
  bool GoesOn(VmRun* run);
  // Finds out whether `run` is open still.
  void ResolveRestored(VmRun* run);
  // Looks for its process; false if that takes a descriptor and there is none.
  bool FindProcess(VmRun* run);
  void FindProcesses();
  void FindProcessesLater();
  // The run is open.
  void Resume(VmRun* run);

  RunContext* const context_;
  const SessionOptions* const session_options_;
  RunTable* const table_;
  const std::vector<RunSource*> sources_;

  std::vector<std::string> saved_runs_;                      // texts still to be read
  absl::flat_hash_map<std::string, HandedRun> handed_runs_;  // by run id
  // Runs whose processes are looked for again, as no descriptor was left.
  std::vector<std::string> without_process_;
  TimerId retry_;
};

}  // namespace vmeventd
