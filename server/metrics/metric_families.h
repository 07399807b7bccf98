#ifndef VMEVENTD_SERVER_METRICS_METRIC_FAMILIES_H_
#define VMEVENTD_SERVER_METRICS_METRIC_FAMILIES_H_

#include <utility>
#include <vector>

#include "base/latency_histogram.h"
#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"

namespace vmeventd {

// Collects the answer to one scrape. Families keep the order in which they were first added; the
// values of one family, which differ in their labels, may come in any order. Labels never hold
// names of clients, nor those of more VMs than --metrics-vms says, so their number is bounded.
class MetricFamilies {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // Counters end in _total; units are seconds and bytes. `help` is a sentence without a full stop.
  void Counter(const char* name, const char* help, double value, Labels labels = {});
  void Gauge(const char* name, const char* help, double value, Labels labels = {});
  void Histogram(const char* name, const char* help, const LatencyHistogram::Snapshot& value,
                 Labels labels = {});

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& Add(const char* name, const char* help, prometheus::MetricType type,
                                Labels labels);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_METRICS_METRIC_FAMILIES_H_
