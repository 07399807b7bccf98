#pragma once

#include "server/eventlog/event_log.h"

namespace vmeventd {

// Leads to what an event log does not show.
struct EventLogForTests {
  static JournalBounds BoundsOf(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.bounds_;
  }
  static bool IsOpen(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.open_;
  }
};

}  // namespace vmeventd
