#pragma once

#include "server/eventlog/event_log.h"
#include "server/events/vm_record.h"

namespace vmeventd {

// Gives tests access to private parts of an event log.
struct EventLogForTests {
  static JournalBounds BoundsOf(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.backlog_.bounds();
  }
  static bool IsOpen(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.backlog_.open();
  }
  // Returns whether all events that were pushed are in the journal.
  static bool AllIsWritten(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    const Backlog& backlog = log.backlog_;
    return backlog.open() && backlog.status().ok() && backlog.First() == nullptr;
  }
  // Time at which Step() (NextStep) or StepWriter() (NextWrite) next has something to do, on the
  // monotonic clock; zero: now.
  static absl::Duration NextStep(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.NextPump();
  }
  static absl::Duration NextWrite(const EventLog& log) {
    const MutexLock lock(&log.mutex_);
    return log.backlog_.NextWrite();
  }
};

}  // namespace vmeventd
