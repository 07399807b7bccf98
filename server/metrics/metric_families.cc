#include "server/metrics/metric_families.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "prometheus/metric_type.h"

namespace vmeventd {

prometheus::ClientMetric& MetricFamilies::Add(const char* name, const char* help,
                                              prometheus::MetricType type, Labels labels) {
  auto family = std::find_if(families_.begin(), families_.end(),
                             [name](const auto& known) { return known.name == name; });
  if (family == families_.end()) {
    families_.push_back({name, help, type, {}});
    family = std::prev(families_.end());
  }
  prometheus::ClientMetric& metric = family->metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

void MetricFamilies::Counter(const char* name, const char* help, double value, Labels labels) {
  Add(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value = value;
}

void MetricFamilies::Gauge(const char* name, const char* help, double value, Labels labels) {
  Add(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value = value;
}

void MetricFamilies::Histogram(const char* name, const char* help,
                               const LatencyHistogram::Snapshot& value, Labels labels) {
  prometheus::ClientMetric::Histogram& out =
      Add(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
  for (size_t i = 0; i < LatencyHistogram::kBounds.size(); ++i) {
    out.sample_count += value.counts[i];
    out.bucket.push_back({out.sample_count, LatencyHistogram::kBounds[i]});
  }
  out.sample_count += value.counts.back();
  out.sample_sum = absl::ToDoubleSeconds(value.sum);
}

}  // namespace vmeventd
