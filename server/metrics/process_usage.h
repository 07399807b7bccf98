#ifndef VMEVENTD_SERVER_METRICS_PROCESS_USAGE_H_
#define VMEVENTD_SERVER_METRICS_PROCESS_USAGE_H_

#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// The resources that this process uses, according to the kernel; zero if unknown.
struct ProcessUsage {
  absl::Duration cpu_time;  // of all its threads, in user and kernel mode
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_descriptors = 0;
  uint64_t max_descriptors = 0;  // the soft limit
};

// When this process started, by the node's clock as it is set now. Call it once.
absl::Time ReadProcessStartTime();

// Reads /proc. Before Linux 6.2 that takes some microseconds for each open descriptor. Any thread.
ProcessUsage ReadProcessUsage();

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_METRICS_PROCESS_USAGE_H_
