#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/handed_log.h"
#include "server/eventlog/journal.h"
#include "server/eventlog/previous_daemon.h"
#include "server/eventlog/sequence_mark.h"

namespace vmeventd {

// The start of an event log.
struct LogStart {
  // The journal, or why it is not open yet.
  Journal::Opened opened;
  // The journal's id, and the sequence after which new events begin.
  SequenceMark after;
  std::optional<HandedLog> handed;  // without its runs
  PreviousDaemon previous;
};

// Opens or creates the journal, finds the last sequence that may have been assigned, and reserves
// those that follow. Where they cannot be known, or cannot be reserved, the log continues as
// another journal, and LogStart::opened.replaced says why. See EventLog::Open for the errors.
absl::StatusOr<LogStart> FindLogStart(const JournalOptions& options, absl::Time now,
                                      const TakeHanded& take_handed);

}  // namespace vmeventd
