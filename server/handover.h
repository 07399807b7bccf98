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
  uint64_t newest = 0;  // its newest sequence
};

// Writes the record that a stopping daemon leaves of its open runs, whose descriptors are in
// `parcel`, that of KeptRuns.
std::string WriteHandover(const JournalEnd& journal, int parcel,
                          const std::vector<HandedRun>& runs);
// Completes `runs`, as OpenKeptRuns() read them from `parcel`, by that record. Runs that are not in
// it lose their id; the caller still closes their descriptors. FAILED_PRECONDITION: the journal is
// not as it was left, and that holds for all runs. INVALID_ARGUMENT: the text is of another version
// or another parcel, and `runs` are as after a crash.
absl::Status ReadHandover(absl::string_view text, const JournalEnd& journal, int parcel,
                          std::vector<HandedRun>* runs);

// Takes back what the service manager has kept since the previous daemon. Logs and closes what is
// not of use.
std::vector<HandedRun> TakeHandover(const JournalEnd& journal);
// Has the service manager keep the record of `runs` for the next daemon, beside their descriptors
// in `kept`, and the socket that receives their exit statuses (-1: none). Logs a failure; the next
// daemon then continues as after a crash.
void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                   const KeptRuns& kept, int exit_status_socket);
// Returns that socket; null: none was left.
std::shared_ptr<UniqueFd> TakeExitStatusSocket();
// Returns the descriptors of the trace of signals, as given to StoreTrace(); the service manager
// keeps them on. Empty: it has none. An error: what it kept is no trace, and is dropped.
absl::StatusOr<std::vector<UniqueFd>> TakeTrace();
// Has the service manager keep `descriptors`, of a trace, in place of those before; none: it keeps
// no trace any more.
absl::Status StoreTrace(const std::vector<int>& descriptors);
// Has the service manager keep the runs that are attached from now on. Null if there is no service
// manager, or if that fails, which is logged.
std::shared_ptr<KeptRuns> StoreKeptRuns();

}  // namespace vmeventd
