#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace vmeventd {

// A value that a source counts or measures, as one series of a metric.
struct SourceMetric {
  // Names and values of labels, which distinguish the series of one metric. Their number is
  // bounded, so no VM's name is among them.
  using Labels = std::vector<std::pair<std::string, std::string>>;

  const char* name;  // of the metric: vmeventd_...; a counter's ends in _total
  const char* help;  // a sentence without a full stop, the same for each series
  uint64_t value = 0;
  // False: a counter, which only grows, from the making of the watcher on.
  bool is_gauge = false;
  Labels labels = {};
};

}  // namespace vmeventd
