#ifndef VMEVENTD_SERVER_JOURNAL_RECOVERY_H_
#define VMEVENTD_SERVER_JOURNAL_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/instant.h"
#include "server/events/live_state.h"
#include "server/journal/event_pump.h"
#include "server/journal/journal.h"
#include "server/journal/sequence_mark.h"

namespace vmeventd {

// State that a start finds of the daemon before it.
struct RecoveredState {
  std::unique_ptr<Journal> journal;
  std::unique_ptr<SequenceMark> mark;
  uint64_t newest = 0;  // the newest sequence that was given, in this journal
  std::vector<JournalSession> sessions;
  std::vector<JournalStop> stops;
  // Missing events, to be published as a GAP each.
  struct Gap {
    std::string message;
    std::optional<EventPump::Missing> missing;
  };
  std::vector<Gap> gaps;
  bool replaced = false;  // the journal is new: its events say nothing of the open runs

  // The ids of the runs whose stops it has, in the order in which they ended.
  std::vector<std::string> EndedRuns() const;
};

// Opens the journal, or makes it, and finds out what became of what was published. A corrupt
// journal is replaced; what is lost is logged and stands in `gaps`. Errors: see Journal::Open and
// SequenceMark::Open, with `mark_path`.
absl::StatusOr<RecoveredState> Recover(const JournalOptions& options, const std::string& mark_path,
                                       absl::Time now);

// Publishes the VMs of `recovered`, as of its newest sequence, then its gaps. `live_state` begins
// there, and `pump` writes to its journal. The pump's thread, or before there is one.
void PublishRecovered(const RecoveredState& recovered, Retained retained, Instant now,
                      LiveState* live_state, EventPump* pump);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_RECOVERY_H_
