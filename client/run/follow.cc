#include "client/run/follow.h"

#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "client/commands/merged_watch.h"
#include "client/commands/watch_loop.h"
#include "client/connect/resolver.h"
#include "client/connect/stop_source.h"
#include "client/consume/command_runner.h"
#include "client/consume/cursor_file.h"
#include "client/consume/node_sink.h"
#include "client/fleet/fleet_watch.h"
#include "client/run/notes.h"
#include "client/run/servers.h"
#include "client/run/stop_signals.h"

namespace vmeventd::client {
namespace {

std::unique_ptr<EventConsumer> MakeConsumer(const FollowCommand& command, const std::string& server,
                                            Formatter* formatter, Output* output,
                                            StopSource* stop) {
  if (command.exec.empty()) return std::make_unique<Printer>(formatter, output);
  CommandRunner::Environment environment;
  environment.command = command.exec;
  environment.on_failure = command.on_failure;
  environment.node = server;
  environment.run = [stop](const CommandCall& call) { return RunCommandCall(call, stop->token()); };
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  environment.note = PrintNote;
  return std::make_unique<CommandRunner>(std::move(environment));
}

std::optional<Failure> StartAtLast(const ServerAddress& server, uint64_t last,
                                   WatchCommand* command) {
  std::optional<absl::Time> since;
  if (const auto* from = std::get_if<FromTime>(&command->start)) since = from->time;
  return WithServer(server, nullptr, nullptr, [&](const CommandContext& context) {
    return FindStartOfLast(command->filter, since, last, context, &command->start);
  });
}

// Opens the cursor file, if there is one.
absl::StatusOr<std::unique_ptr<CursorFile>> OpenCursor(const FollowCommand& command,
                                                       const CommandLine& line) {
  if (command.cursor_file.empty()) return nullptr;
  std::vector<std::string> names;
  for (const ServerAddress& server : line.servers) names.push_back(ToText(server));
  if (line.fleet) names.push_back(FleetWatch::CursorKey());
  return CursorFile::Open(command.cursor_file, names);
}

// Where the watch of one server begins.
std::optional<Failure> SetStart(const FollowCommand& command, const ServerAddress& server,
                                const CursorFile* cursor, WatchCommand* watch) {
  const std::optional<WatchPosition> position =
      cursor == nullptr ? std::nullopt : cursor->Find(ToText(server));
  if (position) {
    watch->start = FromSequence{position->sequence, position->journal_id};
  } else if (command.last) {
    return StartAtLast(server, *command.last, watch);
  }
  return std::nullopt;
}

ExitCode FollowOne(const FollowCommand& command, const ServerAddress& server, CursorFile* cursor,
                   EventConsumer* consumer, StopSource* stop) {
  WatchCommand watch = command.watch;
  if (const auto failure = SetStart(command, server, cursor, &watch)) return Fail(*failure);
  NodeSink sink(consumer, cursor, ToText(server));
  WatchLoop::Environment environment;
  environment.address = server;
  environment.sink = &sink;
  environment.stop = stop;
  environment.note = PrintNote;
  environment.resolve = StoppableResolver(ResolveHost, stop->token());
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  return WatchLoop(std::move(watch), std::move(environment)).Run();
}

ExitCode FollowSeveral(const FollowCommand& command, const std::vector<ServerAddress>& servers,
                       CursorFile* cursor, EventConsumer* consumer, StopSource* stop) {
  std::vector<WatchedNode> nodes;
  for (const ServerAddress& server : servers) {
    WatchedNode node = {NodeName(server), ToText(server), command.watch, server};
    // The merged watch counts; and no node that is down holds up the others.
    node.command.count.reset();
    node.command.wait = node.command.resume;
    if (const auto failure = SetStart(command, server, cursor, &node.command)) {
      PrintNote(failure->sentence);
      node.command.start = FromNow{};  // its history is not worth more than that of the others
    }
    nodes.push_back(std::move(node));
  }
  MergedWatch::Environment environment;
  environment.consumer = consumer;
  environment.cursor = cursor;
  environment.stop = stop;
  environment.note = PrintNote;
  return MergedWatch(std::move(nodes), command.watch.count, std::move(environment)).Run();
}

ExitCode FollowFleet(const FollowCommand& command, const CommandLine& line, CursorFile* cursor,
                     EventConsumer* consumer, StopSource* stop) {
  FleetWatchCommand watch;
  watch.start = command.watch.start;
  watch.filter = {command.watch.filter, line.nodes, std::nullopt, std::nullopt};
  watch.count = command.watch.count;
  watch.resume = command.watch.resume;
  watch.wait = command.watch.wait;
  const std::optional<WatchPosition> position =
      cursor == nullptr ? std::nullopt : cursor->Find(FleetWatch::CursorKey());
  if (position) {
    watch.start = FromSequence{position->sequence, position->journal_id};
  } else if (command.last) {
    FleetFilter filter = watch.filter;
    if (const auto* from = std::get_if<FromTime>(&watch.start)) filter.since = from->time;
    const FleetContext context = FleetContextOf(line, nullptr, nullptr);
    const auto failure = FindFleetStart(filter, *command.last, context, &watch.start);
    if (failure) return Fail(*failure);
  }
  FleetWatch::Environment environment;
  environment.connect = ConnectorTo(*line.fleet);
  environment.servers = ToText(*line.fleet);
  environment.consumer = consumer;
  environment.cursor = cursor;
  environment.stop = stop;
  environment.note = PrintNote;
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  return FleetWatch(std::move(watch), std::move(environment)).Run();
}

}  // namespace

ExitCode RunFollow(const FollowCommand& command, const CommandLine& line, Formatter* formatter) {
  const std::vector<ServerAddress>& servers = line.servers;
  StopSource stop;
  // Before anything that may start a thread.
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) return Fail(signals.status());
  const auto cursor = OpenCursor(command, line);
  if (!cursor.ok()) return Fail(cursor.status());
  DescriptorOutput output(STDOUT_FILENO);
  const std::string node = line.fleet ? "" : NodeName(servers[0]);
  const auto consumer = MakeConsumer(command, node, formatter, &output, &stop);
  if (line.fleet) return FollowFleet(command, line, cursor->get(), consumer.get(), &stop);
  return servers.size() == 1
             ? FollowOne(command, servers[0], cursor->get(), consumer.get(), &stop)
             : FollowSeveral(command, servers, cursor->get(), consumer.get(), &stop);
}

}  // namespace vmeventd::client
