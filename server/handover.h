#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/system.h"
#include "server/eventlog/event_log.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {

// A daemon that stops packs its runs into a parcel, a Unix socket (SOCK_SEQPACKET) with all of them
// in its queue, and the service manager stores that one descriptor for the next daemon. The parcel
// has their states and the newest events too, of which the journal lacks some if the disk was full,
// or hung.

struct Handover {
  std::vector<HandedRun> runs;  // open runs that have descriptors
  UniqueFd exit_statuses;       // NodeWatcher::exit_status_socket(); none: the runs need none
};

// Contents of the parcel of a daemon that stops. Descriptors stay open and the caller's.
struct HandoverContents {
  HandedLog log;  // LogOf()
  OpenRuns open;  // NodeWatcher::HandOver()
  int exit_statuses = -1;
  std::vector<int> trace;  // SignalTrace::descriptors()
};
// Returns what the log leaves, and the open runs with the sequences of their newest events, because
// the next daemon may be unable to open the journal. Call it after EventLog::Close.
HandedLog LogOf(const EventLog& log, const OpenRuns& open);
// Packs a parcel. Logs runs that do not fit into the socket's queue. The error names the system
// call that failed.
absl::StatusOr<UniqueFd> PackHandover(const HandoverContents& contents);
// Gives the service manager such a parcel to store, and returns whether it does. Logs a failure.
bool StoreHandover(const HandoverContents& contents);

// The VMs of open runs that a daemon left, as it left them, for answers before the watcher has
// found out what became of them.
std::vector<VmRecordPtr> VmsOf(const SavedRuns& runs, Instant now);

// Takes the parcel that the service manager has passed to this process; none: there is none. It
// stays stored until it is unpacked, for a start after one that fails.
UniqueFd TakeParcel();
// Returns the descriptors of the trace, which stay in the parcel; none: it has none.
std::vector<UniqueFd> TraceIn(const UniqueFd& parcel);
// Returns the log of a parcel, which stays as it is; unset: it has none of that journal, or there
// is no parcel. Logs why it is not usable.
std::optional<HandedLog> LogIn(const UniqueFd& parcel, const JournalEnd& journal);
// Unpacks a parcel, or none, and has the service manager drop it. Logs what is not usable. Without
// its log the runs have no ids: the caller closes their descriptors.
Handover UnpackHandover(UniqueFd parcel, bool has_log);

}  // namespace vmeventd
