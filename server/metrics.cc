#include "server/metrics.h"

#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace vmeventd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Gauge(const char* name, const char* help, double value,
                   std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  return {name, help, MetricType::Gauge, {std::move(metric)}};
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  ClientMetric metric;
  metric.counter.value = static_cast<double>(value);
  return {name, help, MetricType::Counter, {std::move(metric)}};
}

}  // namespace

std::vector<MetricFamily> Metrics::Collect() const {
  const EventStore::Range range = sources_.store->range();
  return {
      Gauge("vmeventd_build_info", "Always 1; the label has the version.", 1,
            {{"version", sources_.version}}),
      Gauge("vmeventd_exit_status_source_info",
            "Always 1; the label says where the exit statuses of QEMUs come from.", 1,
            {{"source", sources_.exit_status_source}}),
      Gauge("vmeventd_vms", "VMs that have not stopped.", sources_.store->vm_count()),
      Gauge("vmeventd_streams", "Open WatchEvents streams.", sources_.hub->stream_count()),
      Gauge("vmeventd_journal_writable", "1 if events are durable, 0 if they wait in memory.",
            sources_.store->journal_writable() ? 1 : 0),
      Gauge("vmeventd_journal_oldest_sequence", "The oldest event that is retained.",
            static_cast<double>(range.oldest)),
      Counter("vmeventd_events_total", "Events that were ever told; the newest sequence.",
              range.newest),
      Counter("vmeventd_queue_dropped_events_total",
              "Events that were left out because more waited than may be recorded.",
              sources_.queue->dropped_events()),
  };
}

MetricsServer::MetricsServer(ListenAddress address, Metrics::Sources sources)
    : address_(std::move(address)), metrics_(std::make_shared<Metrics>(std::move(sources))) {}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const ListenAddress& address,
                                                                    Metrics::Sources sources) {
  std::unique_ptr<MetricsServer> server(new MetricsServer(address, std::move(sources)));
  try {
    server->exposer_ = std::make_unique<prometheus::Exposer>(address.ToString(), 1);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat(address.ToString(), ": the metrics cannot be served here: ", error.what()));
  }
  const std::vector<int> ports = server->exposer_->GetListeningPorts();
  if (!ports.empty()) server->address_.port = static_cast<uint16_t>(ports.front());
  server->exposer_->RegisterCollectable(server->metrics_);
  return server;
}

}  // namespace vmeventd
