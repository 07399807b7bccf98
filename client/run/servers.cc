#include "client/run/servers.h"

#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/commands/merged_lists.h"
#include "client/connect/connection.h"
#include "client/connect/node_pin.h"
#include "client/run/terminal.h"

namespace vmeventd::client {
namespace {

// Patience for a node's name, which is not worth more.
constexpr absl::Duration kNameWait = absl::Seconds(2);

// The lists of one daemon, with a connection for each.
class ServerLists : public ListSource {
 public:
  explicit ServerLists(ServerAddress server) : server_(std::move(server)) {}
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override {
    return Ask([&](ListSource* lists) { return lists->ReadEvents(command, take); });
  }
  std::optional<Failure> ReadVms(const VmsCommand& command, VmList* vms) override {
    return Ask([&](ListSource* lists) { return lists->ReadVms(command, vms); });
  }
  std::optional<Failure> ReadVm(const VmCommand& command, VmList* vm) override {
    return Ask([&](ListSource* lists) { return lists->ReadVm(command, vm); });
  }

 private:
  std::optional<Failure> Ask(const std::function<std::optional<Failure>(ListSource*)>& ask) const {
    return WithServer(server_, nullptr, nullptr, [&ask](const CommandContext& context) {
      DaemonLists lists(context);
      return ask(&lists);
    });
  }

  const ServerAddress server_;
};

}  // namespace

std::optional<Failure> WithServer(
    const ServerAddress& server, Formatter* formatter, Output* output,
    const std::function<std::optional<Failure>(const CommandContext&)>& ask) {
  const absl::StatusOr<PinnedChannel> connected = ConnectToOne(server, ResolveHost);
  if (!connected.ok()) return ExplainBadFiles(connected.status());
  if (connected->ambiguous) {
    PrintNote(absl::StrCat(server.host, " has several addresses, which may be several ",
                           "nodes: asking ", ToText(connected->address), " only"));
  }
  const auto stub = v1::VmEventService::NewStub(connected->channel);
  const auto health = grpc::health::v1::Health::NewStub(connected->channel);
  CommandContext context;
  context.address = connected->address;
  context.stub = stub.get();
  context.health = health.get();
  context.formatter = formatter;
  context.output = output;
  return ask(context);
}

std::vector<std::string> NodeNames(const std::vector<ServerAddress>& servers) {
  std::vector<std::string> names(servers.size());
  std::vector<std::thread> askers;
  for (size_t i = 0; i < servers.size(); ++i) {
    askers.emplace_back([&server = servers[i], &name = names[i]] {
      const auto channel = Connect(server);
      if (!channel.ok()) return;
      grpc::ClientContext call;
      SetRequestDeadline(&call, kNameWait);
      v1::GetServerInfoResponse info;
      const auto stub = v1::VmEventService::NewStub(*channel);
      if (stub->GetServerInfo(&call, {}, &info).ok()) name = info.node();
    });
  }
  for (std::thread& asker : askers) asker.join();
  std::map<std::string, int> servers_of;
  for (const std::string& name : names) ++servers_of[name];
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || servers_of[names[i]] > 1) names[i] = NodeName(servers[i]);
  }
  return names;
}

FleetLists FleetListsOf(const CommandLine& line, std::function<void(const std::string&)> note) {
  return FleetLists({ConnectorTo(*line.fleet), ToText(*line.fleet), line.nodes, std::move(note)});
}

std::unique_ptr<ListSource> ListsOf(const CommandLine& line,
                                    std::function<void(const std::string&)> note) {
  if (line.fleet) return std::make_unique<FleetLists>(FleetListsOf(line, std::move(note)));
  if (line.servers.size() == 1) return std::make_unique<ServerLists>(line.server());
  const std::vector<std::string> names = NodeNames(line.servers);
  std::vector<MergedLists::Node> nodes;
  for (size_t i = 0; i < names.size(); ++i) {
    nodes.push_back({names[i], std::make_unique<ServerLists>(line.servers[i])});
  }
  return std::make_unique<MergedLists>(std::move(nodes), std::move(note));
}

}  // namespace vmeventd::client
