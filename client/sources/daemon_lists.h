#pragma once

#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/node_count.h"
#include "client/output/node_report.h"
#include "client/output/node_vm.h"
#include "client/sources/daemon_node.h"
#include "client/sources/events_command.h"
#include "client/sources/list_source.h"
#include "client/sources/stats_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The lists of one daemon.
class DaemonLists : public ListSource {
 public:
  explicit DaemonLists(DaemonNode daemon) : daemon_(std::move(daemon)) {}
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                 NodeVms* vms) override;
  std::optional<Failure> ReadReports(const ReportQuestion& question, NodeReports* reports) override;
  std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                     NodeCounts* counts) override;

 private:
  const DaemonNode daemon_;
};

}  // namespace vmeventd::client
