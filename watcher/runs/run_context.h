#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/latency_histogram.h"
#include "base/socket_closer.h"
#include "watcher/core/run_info.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/watcher_counters.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

// Problem of a VM for which RunContext::max_vm_descriptors leaves nothing.
inline constexpr char kOutOfDescriptorsProblem[] =
    "out of file descriptors: the VM is not followed; raise LimitNOFILE of the service";

// State shared by all runs of one watcher. Outlives them. Loop thread.
struct RunContext {
  EventLoop* loop = nullptr;
  ExitStatusReader* exit_statuses = nullptr;
  // Null: SignalWatch reports the kernel's OOM victims.
  const OomCounters* oom_counters = nullptr;
  SignalWatch* signals = nullptr;
  HostWatch* host = nullptr;
  const WatcherOptions* options = nullptr;
  WatcherMeters meters;
  // WatcherCounters::shutdown_file_times.
  LatencyHistogram shutdown_file_times;
  std::string boot_id;         // the kernel's; empty: not known
  uint64_t pid_namespace = 0;  // this process's; 0: not known
  int vm_descriptors = 0;      // number that runs hold
  int max_vm_descriptors = 0;  // limit for all runs together
  SocketCloser closer;         // closes connections to monitors

  // Returns the id of a run that is seen now for the first time: made from its process or, if that
  // is not known, from the time (different for each run) and `socket_inode`.
  std::string NewRunId(const ProcessInfo& process, absl::string_view monitor_path,
                       uint64_t socket_inode);
  int64_t last_first_seen_ns = 0;  // since 1970
};

}  // namespace vmeventd
