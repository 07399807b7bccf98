#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/system.h"
#include "watcher/runs/run_restorer.h"

namespace vmeventd {

// End of a journal. A daemon that stops hands it over once everything that it read is committed: a
// journal that ends elsewhere has other runs.
struct JournalEnd {
  std::string journal_id;
  uint64_t newest = 0;  // its newest sequence
};

// A daemon that stops packs its runs into a parcel, a Unix socket (SOCK_SEQPACKET) with all of them
// in its queue, and the service manager stores that one descriptor for the next daemon.

struct Handover {
  std::vector<HandedRun> runs;
  UniqueFd exit_statuses;  // NodeWatcher::exit_status_socket(); none: the runs need none
};

// Packs a parcel; `trace` is SignalTrace::descriptors(). Descriptors stay open and the caller's.
// Logs runs that do not fit into the socket's queue. The error names the system call that failed.
absl::StatusOr<UniqueFd> PackHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs,
                                      int exit_statuses, const std::vector<int>& trace);
// Has the service manager store such a parcel. Logs a failure.
void StoreHandover(const JournalEnd& journal, const std::vector<HandedRun>& runs, int exit_statuses,
                   const std::vector<int>& trace);

// Takes the parcel that the service manager has passed to this process; none: there is none. It
// stays stored until it is unpacked, for a start after one that fails.
UniqueFd TakeParcel();
// Returns the descriptors of the trace, which stay in the parcel; none: it has none.
std::vector<UniqueFd> TraceIn(const UniqueFd& parcel);
// Unpacks a parcel, or none, and has the service manager drop it. Logs what is not usable. Runs of
// another journal have no id: the caller closes their descriptors.
Handover UnpackHandover(UniqueFd parcel, const JournalEnd& journal);

}  // namespace vmeventd
