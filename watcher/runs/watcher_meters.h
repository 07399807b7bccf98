#ifndef VMEVENTD_WATCHER_RUNS_WATCHER_METERS_H_
#define VMEVENTD_WATCHER_RUNS_WATCHER_METERS_H_

#include "base/counter.h"
#include "base/latency_histogram.h"

namespace vmeventd {

// What the connections and runs of one watcher count; WatcherCounters says what each is. The loop
// thread counts, any thread reads.
struct WatcherMeters {
  Counter connect_retries;
  Counter monitor_reconnects;
  Counter monitors_lost;
  Counter protocol_errors;
  Counter out_of_descriptors;
  Counter rate_limited_events;
  Counter shutdown_file_errors;
  Counter unreadable_runs;
  Counter drains_cut_short;
  Counter sockets_over_process_limit;
  Counter libvirt_connects;
  Counter libvirt_failures;
  Counter libvirt_overflows;
  Counter speakers_left_unread;
  Counter connects_put_off;
  Counter handovers;
  Counter handovers_refused;
  Counter handovers_incomplete;
  LatencyHistogram shutdown_file_times;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_WATCHER_METERS_H_
