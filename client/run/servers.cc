#include "client/run/servers.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/commands/merged_lists.h"
#include "client/connect/connection.h"
#include "client/connect/node_pin.h"
#include "client/run/terminal.h"

namespace vmeventd::client {
namespace {

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

FleetLists FleetListsOf(const CommandLine& line, std::function<void(const std::string&)> note) {
  return FleetLists({ConnectorTo(*line.fleet), ToText(*line.fleet), line.nodes, std::move(note)});
}

std::unique_ptr<ListSource> ListsOf(const CommandLine& line,
                                    std::function<void(const std::string&)> note) {
  if (line.fleet) return std::make_unique<FleetLists>(FleetListsOf(line, std::move(note)));
  if (line.servers.size() == 1) return std::make_unique<ServerLists>(line.server());
  std::vector<MergedLists::Node> nodes;
  for (const ServerAddress& server : line.servers) {
    nodes.push_back({NodeName(server), std::make_unique<ServerLists>(server)});
  }
  return std::make_unique<MergedLists>(std::move(nodes), std::move(note));
}

}  // namespace vmeventd::client
