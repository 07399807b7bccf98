#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/node_count.h"
#include "client/output/node_report.h"
#include "client/output/node_vm.h"
#include "client/sources/events_command.h"
#include "client/sources/fleet_environment.h"
#include "client/sources/list_source.h"
#include "client/sources/stats_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Maximum number of events for `events --newest-first` without a limit.
inline constexpr uint64_t kMaxNewestFirst = 100'000;

// The lists of a fleet. Events are in the order of the stream. One thread; each call opens a
// connection.
class FleetLists : public ListSource {
 public:
  explicit FleetLists(FleetEnvironment environment) : env_(std::move(environment)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                 NodeVms* vms) override;
  // Fails, because a fleet's stream cannot count events.
  std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                     NodeCounts* counts) override;
  // Makes the reports from the heartbeats; a silent node counts as unreachable.
  std::optional<Failure> ReadReports(const ReportQuestion& question, NodeReports* reports) override;
  bool knows_runs() const override { return false; }
  // Reads the latest heartbeat of each node, sorted by cluster and node.
  std::optional<Failure> ReadNodes(Formatter::Heartbeats* nodes) const;

 private:
  const FleetEnvironment env_;
};

}  // namespace vmeventd::client
