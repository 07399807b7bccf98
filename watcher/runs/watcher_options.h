#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "watcher/core/source_specs.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/held_processes.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

class CommandLines;
class LastWordsReader;

// Settings and resources with which a watcher of the node is made.
struct WatcherOptions {
  SourceSpecs sources;
  bool process_tracking = true;
  // Reader of QEMUs' command lines; null: QEMU is asked instead. Only with process tracking.
  std::shared_ptr<CommandLines> command_lines;
  // Reader of QEMUs' last words; null: nobody reads them.
  std::shared_ptr<LastWordsReader> last_words;
  SignalTracing signals;  // only with process tracking
  // Source of the host's shutdown, or the reason (for people) why there is none; both empty: not
  // wanted.
  struct HostShutdown {
    std::shared_ptr<HostShutdownApi> source;
    std::string problem;
  } host_shutdown;
  SessionOptions session;
  absl::Duration greeting_timeout = absl::Seconds(3);
  absl::Duration directory_patience = DirectoryThread::kPatience;
  // The QEMUs that ran at the start; null: none is held. Emptied by the first turn of the loop.
  std::shared_ptr<HeldProcesses> held_processes;
  // The previous daemon's open runs, as VmUpdate::saved_run had them. The first turns of the loop
  // publish for each run either its status (it continues; with its saved_run, which the journal may
  // lack) or STOPPED (it has ended).
  std::vector<std::string> saved_runs;
  // True: `saved_runs` has all runs that were open. False: the state that the previous daemon saved
  // is missing or could not be read.
  bool runs_are_known = true;
  // True: there was a previous daemon. Events since it ended may be missing, unless it handed over
  // everything.
  bool follows_another = false;
  // True: that daemon handed over its log, and with it all of its open runs.
  bool is_handover = false;
  // Runs that the previous daemon handed over; null: none. Taken by the first turn of the loop.
  std::shared_ptr<std::vector<HandedRun>> handed_runs;
  // That daemon's NodeWatcher::exit_status_socket(), to be resumed for these runs; null: none.
  // Taken by NodeWatcher::Create.
  std::shared_ptr<UniqueFd> handed_exits;
  // Descriptors that VMs may hold together; beyond that, a VM is listed with a problem and tried
  // again.
  int max_vm_descriptors = 1 << 20;
  // The only source of exit statuses to try, for tests. Unset: the best that there is.
  std::optional<ExitStatusSource> exit_status_source;
};

}  // namespace vmeventd
