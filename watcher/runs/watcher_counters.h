#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/counter.h"
#include "base/latency_histogram.h"
#include "watcher/runs/source_metric.h"

namespace vmeventd {

// Counters of the runs of one watcher, of whatever source. The loop thread counts, any thread
// reads.
struct WatcherMeters {
  Counter monitors_lost;
  Counter out_of_descriptors;
  Counter rate_limited_events;  // not published; a GAP has their number
  Counter shutdown_file_errors;
  Counter unreadable_runs;    // texts of PreviousRuns::saved that could not be read
  Counter handovers;          // runs that continued with what the previous daemon handed over
  Counter handovers_refused;  // handed-over runs that could not be continued
};

// Counters of the watcher, since it was made; each only grows, unless it says "now".
struct WatcherCounters : WatcherMeters {
  uint64_t exit_statuses_lost = 0;  // how often the process connector threw messages away
  uint64_t sockets_to_close = 0;    // now, on threads that nobody waits for
  uint64_t command_lines_left_out = 0;
  uint64_t last_words_left_out = 0;  // QEMUs whose last words were not looked for: too many waited
  uint64_t signals_lost = 0;         // records of signals that the kernel threw away
  // Time from the wake-up that decided the class (the end of a monitor or a process) until
  // NAME.shutdown was created or removed.
  LatencyHistogram::Snapshot shutdown_file_times;

  std::vector<SourceMetric> of_sources;  // also gauges

  // Returns the value of the source's metric with that name, of its series with these `labels`; 0:
  // no source has it.
  uint64_t OfSource(absl::string_view name, const SourceMetric::Labels& labels = {}) const {
    for (const SourceMetric& metric : of_sources) {
      if (metric.name == name && metric.labels == labels) return metric.value;
    }
    return 0;
  }
};

}  // namespace vmeventd
