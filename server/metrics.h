#ifndef VMEVENTD_SERVER_METRICS_H_
#define VMEVENTD_SERVER_METRICS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"
#include "server/event_store.h"
#include "server/listen_address.h"
#include "server/stream_hub.h"
#include "watcher/io/event_queue.h"

namespace vmeventd {

// What the daemon knows of itself, as Prometheus metrics (docs/operations.md lists them), read at
// the moment they are asked for. Any thread.
class Metrics : public prometheus::Collectable {
 public:
  struct Sources {
    const EventStore* store;  // all outlive the metrics
    const StreamHub* hub;
    const EventQueue* queue;
    std::string version;
    std::string exit_status_source;
  };

  explicit Metrics(Sources sources) : sources_(std::move(sources)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Sources sources_;
};

// Serves the metrics by HTTP at /metrics until it is destroyed.
class MetricsServer {
 public:
  // The error names the address and why nothing can be served there.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const ListenAddress& address,
                                                              Metrics::Sources sources);

  // Where it listens, with the port that the kernel chose.
  const ListenAddress& address() const { return address_; }

 private:
  MetricsServer(ListenAddress address, Metrics::Sources sources);

  ListenAddress address_;
  const std::shared_ptr<Metrics> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // after what it reads
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_METRICS_H_
