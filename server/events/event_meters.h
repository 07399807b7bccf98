#pragma once

#include <array>
#include <cstddef>

#include "base/counter.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// Counters of published events. The pump counts, any thread reads.
class EventMeters {
 public:
  static constexpr size_t kTypes = static_cast<size_t>(kLastEventType) + 1;
  static constexpr size_t kClasses = static_cast<size_t>(kLastShutdownClass) + 1;
  static constexpr size_t kCauses = static_cast<size_t>(kLastShutdownCause) + 1;

  void Count(const VmEvent& event) {
    types_[static_cast<size_t>(event.type)].Add();
    if (event.type == EventType::kStopped && event.shutdown.has_value()) {
      At(event.shutdown->shutdown_class, event.shutdown->cause).Add();
      return;  // QEMU's time in a STOPPED is that of an earlier event
    }
    if (event.qemu_time.has_value())
      qemu_to_observed.Observe(event.observe_time - *event.qemu_time);
  }

  uint64_t events(EventType type) const { return types_[static_cast<size_t>(type)].value(); }
  uint64_t stops(ShutdownClass shutdown_class, ShutdownCause cause) const {
    return stops_[Index(shutdown_class, cause)].value();
  }

  // Measured by the node's wall clock, with which QEMU stamps its events: a step of the clock
  // between the two shows here.
  LatencyHistogram qemu_to_observed;
  // Measured by the monotonic clock.
  LatencyHistogram observed_to_durable;

 private:
  static size_t Index(ShutdownClass shutdown_class, ShutdownCause cause) {
    return static_cast<size_t>(shutdown_class) * kCauses + static_cast<size_t>(cause);
  }
  Counter& At(ShutdownClass shutdown_class, ShutdownCause cause) {
    return stops_[Index(shutdown_class, cause)];
  }

  std::array<Counter, kTypes> types_;
  std::array<Counter, kClasses * kCauses> stops_;
};

// Meters of the journal's writing. The log counts, any thread reads.
struct JournalMeters {
  LatencyHistogram commits;  // each transaction, its sync to the disk included
  Counter write_errors;      // transactions that failed
  Counter lost_events;       // published events that are in no journal
  Counter retention_errors;  // failures to delete what is too old
  Level backlog_bytes;       // size of the events that wait for the disk
  Level backlog_events;
  Level oldest_event_ns;  // observe_time of the oldest event, since 1970; 0: none is
  Level events;           // in the journal
};

}  // namespace vmeventd
