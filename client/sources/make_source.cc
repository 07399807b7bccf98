#include "client/sources/make_source.h"

#include <cstddef>
#include <utility>

#include "client/connect/server_address.h"
#include "client/nats/connection.h"
#include "client/nats/url.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/daemon_node.h"
#include "client/sources/daemon_source.h"
#include "client/sources/fleet_lists.h"
#include "client/sources/fleet_source.h"
#include "client/sources/merged_lists.h"
#include "client/sources/merged_source.h"
#include "client/sources/watch_positions.h"

namespace vmeventd::client {

std::unique_ptr<ListSource> ListsOf(const Servers& servers, bool named, PrintSentence note,
                                    std::vector<std::string>* names) {
  if (servers.fleet && names != nullptr) names->push_back(ToText(*servers.fleet));
  if (servers.fleet) return std::make_unique<FleetLists>(FleetOf(servers, std::move(note)));
  std::vector<DaemonNode> daemons = NodesOf(servers, named);
  for (const DaemonNode& daemon : daemons) {
    if (names != nullptr) names->push_back(daemon.name);
  }
  if (daemons.front().name.empty()) {
    return std::make_unique<DaemonLists>(std::move(daemons.front()));
  }
  std::vector<NodeLists> nodes;
  for (DaemonNode& daemon : daemons) {
    std::string name = daemon.name;
    nodes.push_back({std::move(name), std::make_unique<DaemonLists>(std::move(daemon))});
  }
  return MergeLists(std::move(nodes), std::move(note));
}

FleetEnvironment FleetOf(const Servers& servers, PrintSentence note) {
  return {[fleet = *servers.fleet] { return ConnectNats(fleet); }, ToText(*servers.fleet),
          InvocationOf(servers), servers.nodes, std::move(note)};
}

std::unique_ptr<Source> MakeSource(const WatchCommand& command, const Servers& servers,
                                   const WatchPositions& positions, StopSource* stop,
                                   const PrintSentence& note) {
  const std::vector<std::string> keys = CursorKeys(servers);
  std::vector<WatchCommand> watches(keys.size(), command);
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto position = positions.find(keys[i]);
    if (position != positions.end()) watches[i].start = position->second;
  }
  if (servers.fleet) {
    return WatchFleet(std::move(watches[0]), FleetOf(servers, note), {stop, note});
  }
  if (watches.size() == 1) {
    return WatchDaemon(std::move(watches[0]), servers.first(), {stop, note});
  }
  const std::vector<DaemonNode> daemons = NodesOf(servers);
  std::vector<WatchedNode> nodes;
  for (size_t i = 0; i < watches.size(); ++i) {
    watches[i].wait = true;    // a node that is down does not end the watch
    watches[i].named = false;  // the names are those that `daemons` have
    nodes.push_back({daemons[i].name, std::move(watches[i]), servers.addresses[i]});
  }
  return WatchNodes(std::move(nodes), stop, note);
}

}  // namespace vmeventd::client
