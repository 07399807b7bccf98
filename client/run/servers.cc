#include "client/run/servers.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/connect/connection.h"
#include "client/connect/resolver.h"
#include "client/run/notes.h"

namespace vmeventd::client {

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

FleetContext FleetContextOf(const CommandLine& line, Formatter* formatter, Output* output) {
  FleetContext context;
  context.servers = ToText(*line.fleet);
  context.connect = ConnectorTo(*line.fleet);
  context.nodes = line.nodes;
  context.formatter = formatter;
  context.output = output;
  context.note = PrintNote;
  return context;
}

}  // namespace vmeventd::client
