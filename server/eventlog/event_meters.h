#pragma once

#include <array>
#include <cstddef>

#include "base/counter.h"
#include "base/latency_histogram.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

// Meters of published events and of the journal's writing. The log counts, any thread reads.
struct EventMeters {
  std::array<Counter, static_cast<size_t>(kLastEventType) + 1> events;  // by type
  // STOPPED, by class and cause.
  std::array<std::array<Counter, static_cast<size_t>(kLastShutdownCause) + 1>,
             static_cast<size_t>(kLastShutdownClass) + 1>
      stops;
  // Measured by the node's wall clock, which QEMU's timestamps use: a step of the clock distorts
  // this.
  LatencyHistogram qemu_to_observed;
  LatencyHistogram observed_to_durable;
  LatencyHistogram commits;  // each transaction, its sync to the disk included
  Counter write_errors;      // transactions that failed
  Counter lost_events;       // published events that are in no journal
  Counter retention_errors;  // failures to delete what is too old
};

}  // namespace vmeventd
