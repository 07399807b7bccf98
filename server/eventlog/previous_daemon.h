#pragma once

#include "absl/time/time.h"
#include "server/eventlog/saved_runs.h"

namespace vmeventd {

// The facts about the previous daemon that a log finds in its journal.
struct PreviousDaemon {
  bool existed = false;
  SavedRuns runs;  // the runs that it left open
  // `runs` are all of them. False: the journal could not be read, is missing, was replaced, or is a
  // copy.
  bool runs_are_known = true;
  // Time up to which it watched; InfinitePast: not known, or there was none.
  absl::Time last_watched = absl::InfinitePast();
};

}  // namespace vmeventd
