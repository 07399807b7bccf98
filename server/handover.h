#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// Writes what a daemon that stops says of its open runs, whose descriptors `parcel` holds: the one
// of KeptRuns.
std::string WriteHandover(const JournalEnd& journal, int parcel,
                          const std::vector<HandedRun>& runs);
// Completes `runs`, as OpenKeptRuns() has them of `parcel`, by what was said of them. Those of
// which nothing was said have no id then, and their descriptors are still to be closed; so do all
// of them where the journal is not as it was left: FAILED_PRECONDITION. INVALID_ARGUMENT: the text
// is of another version or another parcel, and `runs` are as after a crash.
absl::Status ReadHandover(absl::string_view text, const JournalEnd& journal, int parcel,
                          std::vector<HandedRun>* runs);

// Takes what the service manager has kept since the daemon before this one, and has it keep it no
// longer. What is not of use is logged and closed.
std::vector<HandedRun> TakeHandover(const JournalEnd& journal);
// Has the service manager keep what is to be said of `runs` to the next daemon, beside their
// descriptors in `kept`. Logs why that cannot be done: then the next one goes on as after a crash.
void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                   const KeptRuns& kept);
// Takes what the service manager keeps of the records of signals, as StoreTrace() was given them;
// it keeps them on. Empty: it has none. An error: what it had is none, and is kept no longer.
absl::StatusOr<std::vector<UniqueFd>> TakeTrace();
// Has the service manager keep `descriptors`, of a trace, in the place of those before; none: of no
// other any more.
absl::Status StoreTrace(const std::vector<int>& descriptors);
// Has the service manager keep the runs that are attached from now on. Null where there is none, or
// where that cannot be done, which is logged.
std::shared_ptr<KeptRuns> StoreKeptRuns();

}  // namespace vmeventd
