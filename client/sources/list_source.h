#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/time_text.h"
#include "vmeventd/v1/vm_events.pb.h"

// A source of lists, and the requests that commands send to it. The source is one daemon, several
// daemons or a fleet; a command's list is the same code for all of them.

namespace vmeventd::client {

// Events of the past.
struct EventsCommand {
  // The filter and the order of the events, without a page. It is sent to a daemon, and applied
  // here to a fleet's stream.
  v1::ListEventsRequest request;
  std::optional<uint64_t> limit;  // at least 1
  // Only this number of the newest events, at least 1; all are held in memory.
  std::optional<uint64_t> last;

  // Maximum number of events in the answer, of those that count.
  uint64_t max_events() const { return last.value_or(limit.value_or(UINT64_MAX)); }
  bool counts(const NodeEvent& one) const {
    return one.event.has_vm() || AsksForGaps(request.filter());
  }
  // Returns whether a source must deliver the newest event first.
  bool reads_newest_first() const { return request.newest_first() || last.has_value(); }
  void SetTimes(std::optional<absl::Time> since, std::optional<absl::Time> until) {
    if (since) *request.mutable_start_time() = ToProto(*since);
    if (until) *request.mutable_end_time() = ToProto(*until);
  }
};

// Counts of events.
struct StatsCommand {
  EventsCommand events;  // the events to count; without limits. Default: only STOPPED
  v1::CountKey by = v1::COUNT_KEY_WHO;
  bool by_node = false;  // one count for each node, instead of `by`
  bool csv = false;
};

// The parts of a report that are requested from a node.
struct ReportQuestion {
  absl::Time since;  // includes the ends at or after this time
  std::function<absl::Time()> now = absl::Now;
  bool health = false;  // also asks each service whether it serves
};

// A source of lists: one daemon, several, or a fleet. Calls block; one thread.
class ListSource {
 public:
  virtual ~ListSource() = default;

  // Gets one event; returns whether to continue.
  using Take = std::function<bool(NodeEvent)>;
  // Reads the command's events, in the order of reads_newest_first(), until there are no more or
  // `take` returns false. `take` enforces the limit: max_events() is only a hint here. If some
  // nodes fail, the events of the others are still read.
  virtual std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) = 0;
  // Appends the runs of VMs that pass the filter, sorted by name and then by node. The filter must
  // not have types, classes or causes. If some nodes fail, appends the runs of the others.
  virtual std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                         NodeVms* vms) = 0;
  // Appends the counts of each node; a key may come several times. With `by_node`, the keys have no
  // meaning.
  virtual std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                             NodeCounts* counts) = 0;
  // Appends the report of each node on itself. A node that does not answer also gets a report; the
  // failure is then that of one such node.
  virtual std::optional<Failure> ReadReports(const ReportQuestion& question,
                                             NodeReports* reports) = 0;
  // Returns whether it knows all runs of a VM, and not only the newest.
  virtual bool knows_runs() const { return true; }
};

}  // namespace vmeventd::client
