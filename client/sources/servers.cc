#include "client/sources/servers.h"

#include <cstddef>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/loopback.h"
#include "client/connect/connection.h"
#include "client/fleet/fleet.h"
#include "client/sources/ask_all.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/daemon_source.h"
#include "client/sources/fleet_lists.h"
#include "client/sources/fleet_source.h"
#include "client/sources/merged_lists.h"
#include "client/sources/merged_source.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Patience for a node's name, which is not worth more.
constexpr absl::Duration kNameWait = absl::Seconds(2);

}  // namespace

std::vector<DaemonNode> NodesOf(const Servers& servers, bool named) {
  std::vector<DaemonNode> nodes;
  const Invocation invocation = InvocationOf(servers);
  for (const ServerAddress& server : servers.servers) nodes.emplace_back(server, invocation);
  if (nodes.size() == 1 && !named) return nodes;
  AskAll(nodes.size(), [&nodes](size_t i) {
    DaemonNode& node = nodes[i];
    if (!node.connected.ok()) return;
    grpc::ClientContext call;
    // A login takes longer than a connection.
    SetRequestDeadline(&call, node.address.is_ssh() ? kRequestTimeout : kNameWait);
    v1::GetServerInfoResponse info;
    (void)node.stub->GetServerInfo(&call, {}, &info);
    node.name = info.node();
  });
  std::map<std::string, int> servers_of;
  for (const DaemonNode& node : nodes) ++servers_of[node.name];
  for (DaemonNode& node : nodes) {
    if (node.name.empty() || servers_of[node.name] > 1) node.name = NodeName(node.address);
  }
  return nodes;
}

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

Invocation InvocationOf(const Servers& servers) {
  Invocation invocation = {.client = servers.client};
  if (servers.fleet) {
    invocation.where = " in the fleet";
  } else if (servers.servers.size() > 1) {
    invocation.where = absl::StrCat(" on the ", servers.servers.size(), " servers");
  } else if (!servers.servers.empty()) {
    const ServerAddress& server = servers.server();
    invocation.where = absl::StrCat(" to vmeventd at ", ToText(server));
    invocation.is_here = server.is_unix() || IsLoopback(server.host);
  }
  return invocation;
}

FleetEnvironment FleetOf(const Servers& servers, PrintSentence note) {
  return {[fleet = *servers.fleet] { return ConnectNats(fleet); }, ToText(*servers.fleet),
          InvocationOf(servers), servers.nodes, std::move(note)};
}

std::vector<std::string> CursorKeys(const Servers& servers) {
  if (servers.fleet) return {kFleetCursorKey};
  std::vector<std::string> keys;
  for (const ServerAddress& server : servers.servers) keys.push_back(ToText(server));
  return keys;
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
    return WatchDaemon(std::move(watches[0]), servers.server(), {stop, note});
  }
  const std::vector<DaemonNode> daemons = NodesOf(servers);
  std::vector<WatchedNode> nodes;
  for (size_t i = 0; i < watches.size(); ++i) {
    watches[i].wait = true;    // a node that is down does not end the watch
    watches[i].named = false;  // the names are those that `daemons` have
    nodes.push_back({daemons[i].name, std::move(watches[i]), servers.servers[i]});
  }
  return WatchNodes(std::move(nodes), stop, note);
}

std::optional<Failure> SetStart(const Servers& servers, const WatchPositions& positions,
                                uint64_t last, const PrintSentence& note, WatchCommand* command) {
  Servers asked = servers;
  std::erase_if(asked.servers, [&](const auto& one) { return positions.contains(ToText(one)); });
  if (servers.fleet ? positions.contains(kFleetCursorKey) : asked.servers.empty())
    return std::nullopt;
  const bool alone = asked.servers.size() <= 1;
  EventsCommand list;
  *list.request.mutable_filter() = command->filter;
  if (const auto* from = std::get_if<FromTime>(&command->start)) {
    list.SetTimes(from->time, std::nullopt);
  }
  list.last = last;
  std::optional<NodeEvent> oldest;
  uint64_t read = 0;
  auto failure = ListsOf(asked, /*named=*/false, note)->ReadEvents(list, [&](NodeEvent event) {
    if (list.counts(event)) ++read;
    oldest = std::move(event);
    return read < last;
  });
  if (failure && alone) return failure;
  if (failure) note(failure->sentence);
  // Fewer events are all that there are: the start stays as it is.
  if (!failure && read < last) return std::nullopt;
  if (!oldest) {
    command->start = FromNow{};
  } else if (alone) {
    const uint64_t sequence =
        servers.fleet ? oldest->resume_after.position.sequence : oldest->event.sequence();
    command->start = FromSequence{sequence - 1, ""};
  } else {
    command->start = FromTime{FromTimestamp(oldest->event.observe_time())};
  }
  return std::nullopt;
}

}  // namespace vmeventd::client
