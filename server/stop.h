#pragma once

#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/event_log.h"
#include "server/metrics/metrics_server.h"
#include "server/rpc/vm_event_service.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// Longest time of StopDaemon().
inline constexpr absl::Duration kStopTimeout = absl::Seconds(5);

// The parts of a daemon, which outlive the stop.
struct DaemonParts {
  const Clock* clock;
  EventLog* log;
  StreamHub* hub;
  VmEventService* service;
  NodeWatcher* watcher;
  std::thread* watcher_thread;  // runs the watcher's loop, which was asked to end
  const SignalTrace* trace;     // null: none
  std::unique_ptr<GrpcServer>* server;
  std::unique_ptr<MetricsServer>* metrics_server;  // points to null: not configured
};

// Stops the daemon: all that was observed is sent on every stream before the stream ends, and is
// written or, with the open runs, handed to the next daemon. Destroys the servers. If a step hangs,
// logs it after kStopTimeout and ends the process. Call it once in a process.
void StopDaemon(const DaemonParts& parts);

}  // namespace vmeventd
