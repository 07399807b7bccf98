#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/system.h"
#include "watcher/core/specs.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/directory_thread.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

class CommandLines;
class EventSink;
class LastWordsReader;
class LibvirtApi;
class RunSource;
class RunTable;
struct RunContext;

// Makes a source. All that it is given outlives the source, but for the runs in the table. An error
// names the system resource that could not be had.
using SourceFactory = std::function<absl::StatusOr<std::unique_ptr<RunSource>>(
    RunContext* context, RunTable* table, EventSink* sink)>;

// Settings and resources with which a watcher of the node is made.
struct WatcherOptions {
  std::vector<WatchSpec> watches;
  std::vector<LibvirtSpec> libvirts;
  std::shared_ptr<LibvirtApi> libvirt_api;  // API to reach them; null: there are none
  bool process_tracking = true;
  // Command lines of QEMUs; null: what they say is asked. Only with process tracking.
  std::shared_ptr<CommandLines> command_lines;
  bool watch_manager_sockets = false;  // connect to the monitors that managers need themselves, too
  // Last words of QEMUs; null: nobody reads them.
  std::shared_ptr<LastWordsReader> last_words;
  SignalTracing signals;  // only with process tracking
  // Source of the host's shutdown, or for people why there is none; both empty: nobody wanted
  // it.
  struct HostShutdown {
    std::shared_ptr<HostShutdownApi> source;
    std::string problem;
  } host_shutdown;
  SessionOptions session;
  absl::Duration greeting_timeout = absl::Seconds(3);
  absl::Duration directory_patience = DirectoryThread::kPatience;
  // The QEMUs that ran at the start; null: none is held. Emptied by the first turn of the loop.
  std::shared_ptr<HeldProcesses> held_processes;
  // The open runs of the daemon before this one, as VmUpdate::saved_run had them. The first turns
  // of the loop publish of each that it continues (its status, with its saved_run, which the
  // journal may lack) or has ended (STOPPED).
  std::vector<std::string> saved_runs;
  // There was a daemon before this one: what it left is not all that happened meanwhile, unless it
  // handed over everything.
  bool follows_another = false;
  // It handed its log over, and with it all of its open runs.
  bool is_handover = false;
  // Runs that the daemon before this one has handed over; null: nothing. Taken by
  // the first turn of the loop.
  std::shared_ptr<std::vector<HandedRun>> handed_runs;
  // Its NodeWatcher::exit_status_socket(), to be resumed for these runs; null: none. Taken by
  // NodeWatcher::Create.
  std::shared_ptr<UniqueFd> handed_exits;
  // Sources in addition to those that every watcher has, for tests.
  std::vector<SourceFactory> more_sources;
  // Descriptors that VMs may hold together; beyond it a VM is listed with a problem and retried.
  int max_vm_descriptors = 1 << 20;
  // The only source of exit statuses to try, for tests. Unset: the best that there is.
  std::optional<ExitStatusSource> exit_status_source;
};

}  // namespace vmeventd
