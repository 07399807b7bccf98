#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/eventlog/event_log.h"
#include "server/events/vm_record.h"
#include "watcher/runs/handed_run.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// A daemon that stops packs its runs into a parcel: a Unix socket (SOCK_SEQPACKET) with all of them
// in its queue. The service manager stores that one descriptor for the next daemon. The parcel also
// has the runs' states and the newest events, some of which the journal lacks if the disk was full
// or hung.

struct Handover {
  std::vector<HandedRun> runs;  // open runs that have descriptors
  UniqueFd exit_statuses;       // NodeWatcher::exit_status_socket(); none: the runs need none
};

// Contents of the parcel of a daemon that stops. The descriptors stay open and belong to the
// caller.
struct HandoverContents {
  HandedLog log;  // LogOf()
  OpenRuns open;  // NodeWatcher::HandOver()
  int exit_statuses = -1;
  std::vector<int> trace;  // SignalTrace::descriptors()
};
// Returns the log's part of a handover, together with the open runs and the sequences of their
// newest events, because the next daemon may be unable to open the journal. Call it after
// EventLog::Close.
HandedLog LogOf(const EventLog& log, const OpenRuns& open);
// Packs a parcel. Logs runs that do not fit into the socket's queue. The error names the system
// call that failed.
absl::StatusOr<UniqueFd> PackHandover(const HandoverContents& contents);
// Packs a parcel and gives it to the service manager to store. Returns whether that stores it. Logs
// a failure.
bool StoreHandover(const HandoverContents& contents);

// Returns the VMs of the open runs that a daemon left, in their last known state. Queries get these
// until the watcher has restored the runs.
std::vector<VmRecordPtr> VmsOf(const SavedRuns& runs, Instant now);

// Takes the parcel that the service manager passed to this process; an invalid descriptor if there
// is none. The service manager keeps it stored until it is unpacked, so that a failed start can be
// repeated.
UniqueFd TakeParcel();
// Returns the descriptors of the trace, which also stay in the parcel; empty: it has none.
std::vector<UniqueFd> TraceIn(const UniqueFd& parcel);
// Returns the log of a parcel, without changing the parcel; unset: it has no log of that journal,
// or there is no parcel. Logs why a log is not usable.
std::optional<HandedLog> LogIn(const UniqueFd& parcel, const JournalEnd& journal);
// Unpacks a parcel, if there is one, and tells the service manager to drop it. Logs what is not
// usable. Without its log, the runs have no ids: the caller closes their descriptors.
Handover UnpackHandover(UniqueFd parcel, bool has_log);

}  // namespace vmeventd
