#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/event_pump.h"
#include "server/eventlog/event_queue.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/journal_writer.h"
#include "server/eventlog/live_state.h"

namespace vmeventd {

// State with which a log begins.
struct LogBegin {
  Journal::Opened opened;  // without a journal if `problem` says why
  absl::Status problem;
  SequenceMark after;  // the journal's id, and the last sequence that may have been given
  Hole lost;
};

// Contents of an EventLog. Members guarded by `pump_role` belong to the pump thread; the others
// have their own locks or do not change.
struct EventLog::Parts {
  Parts(const EventLogOptions& options, const Clock* clock, LogBegin begin);

  // The reader of the journal, or why there is none yet. History thread.
  absl::StatusOr<JournalReader*> Reader();
  // Has the journal replaced at the next start, if `status` says that it is damaged.
  void CheckDamage(const absl::Status& status);

  const JournalOptions journal_options;
  const Clock* const clock;
  ThreadRole pump_role;
  SavedState saved;
  std::vector<Subscriber> subscribers;  // complete before the threads start
  EventQueue queue;
  LiveState live_state;
  JournalWriter writer;
  EventPump pump ABSL_GUARDED_BY(pump_role);
  const EventMeters& event_meters;  // of the pump
  TurnQueue reads;
  std::unique_ptr<JournalReader> reader;  // history thread

  std::thread pump_thread;
  std::thread writer_thread;
  std::thread history_thread;
};

}  // namespace vmeventd
