#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/event_pump.h"
#include "server/eventlog/event_queue.h"
#include "server/eventlog/journal_writer.h"
#include "server/eventlog/live_state.h"
#include "server/eventlog/read_queue.h"
#include "server/eventlog/sequence_mark.h"

namespace vmeventd {

// State that a start finds of the previous daemon.
struct RecoveredState {
  std::unique_ptr<Journal> journal;
  std::unique_ptr<SequenceMark> mark;
  uint64_t newest = 0;  // the newest sequence that was given, in this journal
  SavedState saved;
  std::vector<VmRecordPtr> stopped;  // the VMs that stopped last, oldest first
  // Missing events, to be published as a GAP each.
  struct Gap {
    std::string message;
    std::optional<EventPump::Missing> missing;
  };
  std::vector<Gap> gaps;
};

// Opens or creates the journal, and determines which published events are lost. A corrupt journal
// is replaced; what is lost is logged and stands in `gaps`. Errors: see Journal::Open and
// SequenceMark::Open, with `mark_path`.
absl::StatusOr<RecoveredState> Recover(const JournalOptions& options, const std::string& mark_path,
                                       absl::Time now);

// Publishes the VMs of `recovered`, as of its newest sequence, then its gaps. `live_state` begins
// there, and `pump` writes to its journal. Pump thread, or before it exists.
void PublishRecovered(const RecoveredState& recovered, Retained retained, Instant now,
                      LiveState* live_state, EventPump* pump);

// Contents of an EventLog. Members guarded by `pump_role` belong to the pump thread; the others
// have their own locks or do not change.
struct EventLog::Parts {
  Parts(const EventLogOptions& options, const Clock* clock, RecoveredState recovered);

  // EventPump::ReportCorrupt, the one method of it that any thread may call.
  void ReportCorrupt(const std::string& journal_id,
                     const absl::Status& found) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    pump.ReportCorrupt(journal_id, found);
  }

  ThreadRole pump_role;
  SavedState saved;
  std::vector<Subscriber> subscribers;  // complete before the threads start
  EventQueue queue;
  LiveState live_state;
  JournalReadQueue read_queue;  // its reader is closed after the writer
  JournalWriter journal ABSL_GUARDED_BY(pump_role);
  EventPump pump ABSL_GUARDED_BY(pump_role);
  // Counted by the pump, read by any thread.
  const EventMeters& event_meters;
  const JournalMeters& journal_meters;

  std::thread pump_thread;
  std::thread history_thread;
};

}  // namespace vmeventd
