#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "vmeventd/v1/vm_events.pb.h"

// A source of lists: what one daemon, several daemons or a fleet know, by the questions that a
// command asks. Each list is written once, for any of them.

namespace vmeventd::client {

// Events of the past.
struct EventsCommand {
  v1::EventFilter filter;
  std::optional<absl::Time> since;
  std::optional<absl::Time> until;
  bool newest_first = false;
  std::optional<uint64_t> limit;  // at least 1
  std::optional<uint64_t> last;   // only the newest so many, at least 1; they are in memory

  // Limit of the events of the answer that count.
  uint64_t most() const { return last.value_or(limit.value_or(UINT64_MAX)); }
  bool counts(const NodeEvent& one) const { return one.event.has_vm() || AsksForGaps(filter); }
  // Returns whether a source must deliver the newest event first.
  bool reads_newest_first() const { return newest_first || last.has_value(); }
};

// Counts of events.
struct StatsCommand {
  EventsCommand events;  // which; no limits. By default STOPPED alone
  v1::CountKey by = v1::COUNT_KEY_WHO;
  bool by_node = false;  // a count for each node, instead of `by`
  bool csv = false;
};

// Parts of the report that a node is asked for.
struct ReportQuestion {
  absl::Time since;  // reports the ends at or after this time
  std::function<absl::Time()> now = absl::Now;
  bool health = false;  // asks each service whether it serves
};

// A source of lists: one daemon, several, or a fleet. Calls block; one thread.
class ListSource {
 public:
  virtual ~ListSource() = default;

  // Returns whether to continue.
  using Take = std::function<bool(NodeEvent)>;
  // Reads the command's events, in the order of reads_newest_first(), until there are no more or
  // `take` returns false, which counts them: most() is a hint here. A failure of some nodes comes
  // after the events of the others.
  virtual std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) = 0;
  // Appends the runs of VMs that the filter chooses, which has no types, classes and causes, by
  // name and then by node; with a failure, those of the nodes that answered.
  virtual std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                         NodeVms* vms) = 0;
  // Appends what each node counted; keys may come several times. By node, the keys count for
  // nothing.
  virtual std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                             NodeCounts* counts) = 0;
  // Appends what each node reports of itself, with the ends since a time. A node that does not
  // answer is a report too; the failure is then that of one of them.
  virtual std::optional<Failure> ReadReports(const ReportQuestion& question,
                                             NodeReports* reports) = 0;
  // Returns whether it knows each run of a VM, and not its newest alone.
  virtual bool knows_runs() const { return true; }
};

}  // namespace vmeventd::client
