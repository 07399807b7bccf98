#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/eventlog/journal_batch.h"
#include "server/eventlog/saved_runs.h"

namespace vmeventd {

// End of a journal: its file has the events up to `stored`, and none after `newest`.
struct JournalEnd {
  std::string file;  // FileIdentity() of the database; empty: there is none
  uint64_t stored = 0;
  uint64_t newest = 0;

  // Returns whether both can describe the same journal.
  bool MayBeSameJournal(const JournalEnd& other) const {
    return file == other.file && stored <= other.newest && other.stored <= newest;
  }
};

// The log that a stopping daemon hands to the next one.
struct HandedLog {
  std::string journal_id;
  JournalEnd end;          // `newest` is the last sequence that it assigned
  bool knows_runs = true;  // `runs` has all runs that are open in the journal
  JournalBatch unwritten;  // events, and VMs that stopped
  SavedRuns runs;          // the open runs
  absl::Time watched_until = absl::InfinitePast();  // see ReadAlive()
};

// Returns what the previous daemon handed over, if the journal that it left matches `found`.
using TakeHanded = std::function<std::optional<HandedLog>(const JournalEnd& found)>;

}  // namespace vmeventd
