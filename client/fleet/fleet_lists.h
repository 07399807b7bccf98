#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/commands/commands.h"
#include "client/consume/source.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_servers.h"
#include "client/output/formatter.h"

namespace vmeventd::client {

// The most events of `events --newest-first` without a limit.
inline constexpr uint64_t kMaxEvents = 100'000;

// The lists of a fleet; events are in the order of the stream. One thread; each call makes a
// connection.
class FleetLists : public ListSource {
 public:
  struct Environment {
    FleetConnector connect;
    std::string servers;             // names the servers in messages
    std::vector<std::string> nodes;  // globs, as of FleetFilter
    PrintSentence note;
    std::function<absl::Time()> now = absl::Now;  // the time to compare heartbeats with
  };
  explicit FleetLists(Environment environment) : env_(std::move(environment)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, NodeVms* vms) override;
  bool knows_runs() const override { return false; }
  // The latest heartbeat of each node, by cluster and node.
  std::optional<Failure> ReadNodes(Formatter::Heartbeats* nodes) const;
  // Sets `start` to where a watch begins so that it first delivers the newest `last` events of the
  // filter.
  std::optional<Failure> FindStart(const FleetFilter& filter, uint64_t last,
                                   WatchStart* start) const;

 private:
  const Environment env_;
};

}  // namespace vmeventd::client
