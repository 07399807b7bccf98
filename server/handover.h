#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/kept_runs.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {

// End of a journal. A daemon that stops notes it once everything that it read is committed;
// a journal that ends elsewhere has other runs than it handed over.
struct JournalEnd {
  std::string journal_id;
  uint64_t newest = 0;  // sequence
};

// Runs with their descriptors, as one descriptor. Clears `kept` where the kernel permits no more
// descriptors to be under way; after any other error a crash leaves what it left before.
absl::StatusOr<UniqueFd> PackHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                                      KeptRuns* kept = nullptr);

struct Handover {
  std::vector<HandedRun> runs;
  // Reason why none of them can be used; empty: they can be. Then they have no run ids, and their
  // descriptors are still to be closed.
  std::string problem;
};
// Opens what a daemon before this one has packed, where `journal` is as it left it. An error:
// nothing can be had of it.
absl::StatusOr<Handover> OpenHandover(UniqueFd parcel, const JournalEnd& journal);

// Takes what the service manager has kept since the daemon before this one, and has it keep it no
// longer: what that handed over, or else what was kept for a crash. What is not of use is logged
// and closed.
std::vector<HandedRun> TakeHandover(const JournalEnd& journal);
// Has the service manager keep `runs` for the next daemon, in the place of what is kept for a
// crash, `kept`, which may be null. Logs why that cannot be done.
void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs, KeptRuns* kept);
// Takes what the service manager keeps of the records of signals, as StoreTrace() was given them;
// it keeps them on. Empty: it has none. An error: what it had is none, and is kept no longer.
absl::StatusOr<std::vector<UniqueFd>> TakeTrace();
// Has the service manager keep `descriptors`, of a trace, in the place of those before; none: of no
// other any more.
absl::Status StoreTrace(const std::vector<int>& descriptors);
// Has the service manager keep the runs that are attached from now on, for the case of a crash.
// Null where there is none, or where that cannot be done, which is logged.
std::shared_ptr<KeptRuns> StoreKeptRuns();

}  // namespace vmeventd
