#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "server/events/logged_event.h"

// The retained events: their bounds, and the result of a read of them.

namespace vmeventd {

// The bounds of what is retained, in memory or in the journal.
struct EventRange {
  uint64_t oldest = 1;  // newest + 1 if nothing is retained
  uint64_t newest = 0;
  // First sequence from which on no event is missing, except those that a GAP names. A stream may
  // begin there, or later.
  uint64_t unbroken_from = 1;
  // `committed`: the newest sequence in the journal. `durable`: up to it, every event is in the
  // journal, or is named by a GAP in the journal.
  uint64_t committed = 0;
  uint64_t durable = 0;
};

// Both empty: there is no event at or after the sequence yet.
struct ReadResult {
  std::vector<EventPtr> events;
  // Set: the events up to this one must be read first, and only the journal has them.
  std::optional<uint64_t> in_journal_through;
  EventRange range;
};

}  // namespace vmeventd
