#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "watcher/core/run_info.h"
#include "watcher/core/specs.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/bpf_trace.h"

namespace vmeventd {

class CommandLines;
class LibvirtApi;
struct HandedRun;

struct WatcherOptions {
  std::vector<WatchSpec> watches;
  std::vector<LibvirtSpec> libvirts;
  std::shared_ptr<LibvirtApi> libvirt_api;  // API to reach them; null: there are none
  bool process_tracking = true;
  // Command lines of QEMUs; null: what they say is asked. Only with process tracking.
  std::shared_ptr<CommandLines> command_lines;
  SignalTracing signals;  // only with process tracking
  // Source of the host's shutdown, or for people why there is none; both empty: nobody wanted
  // it.
  struct HostShutdown {
    std::shared_ptr<HostShutdownApi> source;
    std::string problem;
  } host_shutdown;
  SessionOptions session;
  absl::Duration greeting_timeout = absl::Seconds(3);
  // The open runs of the daemon before this one, as VmUpdate::saved_run had them. The first turns
  // of the loop publish of each that it goes on (its status) or has ended (STOPPED).
  std::vector<std::string> saved_runs;
  // Runs that the daemon before this one has handed over; null: nothing. Taken by
  // NodeWatcher::Create.
  std::shared_ptr<std::vector<HandedRun>> handed_runs;
  // Its NodeWatcher::exit_status_socket(), to be resumed for these runs; null: none. Taken too.
  std::shared_ptr<UniqueFd> handed_exits;
  // Runs that ended before, the last ones at the end: their ids are not used again.
  std::vector<EndedRun> ended_runs;
  // Descriptors that VMs may hold together; beyond it a VM is listed with a problem and retried.
  int max_vm_descriptors = 1 << 20;
  // The only source of exit statuses to try, for tests. Unset: the best that there is.
  std::optional<ExitStatusSource> exit_status_source;
};

}  // namespace vmeventd
