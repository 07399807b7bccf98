#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/access/refusals.h"
#include "server/config/tls_files.h"
#include "server/eventlog/event_log.h"
#include "server/logging/logging.h"
#include "server/stream/stream_hub.h"
#include "server/transport/grpc_server.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The daemon's Prometheus metrics (docs/monitoring.md lists them), read when scraped: counters
// without a lock; the state of the event log and the hub under their locks, held while a few
// numbers, or one per open stream, are copied. Any thread.
class Metrics : public prometheus::Collectable {
 public:
  // All pointers must outlive the metrics.
  struct Inputs {
    const EventLog* log;
    const StreamHub* hub;
    const NodeWatcher* watcher;
    const RefusalCounters* refusals;
    GrpcServer* server = nullptr;          // null: nothing listens
    TlsFiles* tls = nullptr;               // null: no TLS. A scrape checks the files
    const LogMeters* log_lines = nullptr;  // null: the process's log is not the daemon's
    std::string journal_path;              // database file
    std::string version;
    size_t named_vms = 0;  // number of the last stops that have the name of their VM
  };

  explicit Metrics(Inputs inputs);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Inputs inputs_;
  const absl::Time process_start_;
};

}  // namespace vmeventd
