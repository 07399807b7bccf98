#pragma once

#include "server/eventlog/event_log.h"
#include "server/eventlog/event_log_parts.h"

namespace vmeventd {

// Leads to what an event log does not show.
struct EventLogForTests {
  using Parts = EventLog::Parts;
  static Parts& PartsOf(const EventLog& log) { return *log.parts_; }
};

}  // namespace vmeventd
