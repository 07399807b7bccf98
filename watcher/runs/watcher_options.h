#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "watcher/core/source_specs.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/exit_status_reader.h"
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
  // Descriptors that VMs may hold together; beyond that, a VM is listed with a problem and tried
  // again.
  int max_vm_descriptors = 1 << 20;
  // The only source of exit statuses to try, for tests. Unset: the best that there is.
  std::optional<ExitStatusSource> exit_status_source;
};

}  // namespace vmeventd
