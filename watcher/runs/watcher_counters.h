#pragma once

#include <cstdint>

#include "base/counter.h"
#include "base/latency_histogram.h"

namespace vmeventd {

// Counters of the runs of one watcher, of whatever source. The loop thread counts, any thread
// reads.
struct WatcherMeters {
  Counter monitors_lost;
  Counter out_of_descriptors;
  Counter rate_limited_events;  // not published; a GAP has their number
  Counter shutdown_file_errors;
  Counter unreadable_runs;    // texts of WatcherOptions::saved_runs that could not be read
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

  // Of the source "QMP sockets".
  uint64_t inotify_overflows = 0;
  uint64_t rescans = 0;
  // Number of times that a socket was not followed because its directory had the maximum.
  uint64_t sockets_over_directory_limit = 0;
  uint64_t connect_retries = 0;     // after a connect was refused or found a full queue
  uint64_t connects_put_off = 0;    // delayed: too many sockets waited to be closed
  uint64_t monitor_reconnects = 0;  // monitors that answered again after their connection had ended
  uint64_t protocol_errors = 0;     // connections that were closed because what came was not QMP
  // Connections that were closed because incomplete lines took too much memory.
  uint64_t lines_refused = 0;

  // Of the source "libvirt".
  uint64_t libvirt_connects = 0;   // connections to libvirt that were made
  uint64_t libvirt_failures = 0;   // connections that failed or were lost
  uint64_t libvirt_overflows = 0;  // those of them cut at the backlog limit
  uint64_t libvirt_left_out = 0;   // times that a libvirt or a domain was not followed: a limit
};

}  // namespace vmeventd
