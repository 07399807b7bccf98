#pragma once

#include <functional>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/node_count.h"
#include "client/output/node_event.h"
#include "client/output/node_report.h"
#include "client/output/node_vm.h"
#include "client/sources/events_command.h"
#include "client/sources/stats_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The parts of a report that are requested from a node.
struct ReportQuestion {
  absl::Time since;  // includes the ends at or after this time
  std::function<absl::Time()> now = absl::Now;
  bool health = false;  // also asks each service whether it serves
};

// A source of lists: one daemon, several, or a fleet; a command's list is the same code for all of
// them. Calls block; one thread.
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
