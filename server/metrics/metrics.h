#pragma once

#include <cstddef>
#include <string>

#include "server/access/refusals.h"
#include "server/config/tls_files.h"
#include "server/eventlog/event_log.h"
#include "server/logging/log_sink.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// Sources of the metrics.
struct MetricSources {
  const EventLog* log;
  const StreamHub* hub;
  const NodeWatcher* watcher;
  const RefusalCounters* refusals;
  GrpcServer* server = nullptr;          // null: nothing listens
  TlsFiles* tls = nullptr;               // null: no TLS. A scrape checks the files
  const LogMeters* log_lines = nullptr;  // null: the daemon does not own the process's log
  std::string journal_path;              // database file
  std::string version;
  size_t named_vms = 0;  // number of the last stops that are shown with the name of their VM
};

// Returns the daemon's metrics (docs/monitoring.md lists them) in Prometheus' text format: counters
// are read without a lock; the state of the event log and the hub under their locks, held while a
// few numbers, or one per open stream, are copied. Any thread.
std::string MetricsText(const MetricSources& sources);

}  // namespace vmeventd
