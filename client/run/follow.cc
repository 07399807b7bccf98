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
  environment.gaps = command.watch.counts_gaps;
  environment.node = server;
  environment.run = [stop](const CommandCall& call) { return RunCommandCall(call, stop->token()); };
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  environment.note = PrintNote;
  return std::make_unique<CommandRunner>(std::move(environment));
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

// Sets where the watch of each server begins. A server that does not answer has the failure, and
// begins now: its history is not worth more than that of the others.
void SetStarts(const FollowCommand& command, const std::vector<ServerAddress>& servers,
               const CursorFile* cursor, std::vector<WatchCommand>* watches,
               std::vector<std::optional<Failure>>* failures) {
  failures->resize(servers.size());
  EventsCommand list;
  list.filter = command.watch.filter;
  if (const auto* from = std::get_if<FromTime>(&command.watch.start)) list.since = from->time;
  list.last = command.last;
  std::vector<Formatter::Events> newest;
  std::vector<WatchCommand*> listed;
  for (size_t i = 0; i < servers.size(); ++i) {
    WatchCommand* const watch = &(*watches)[i];
    if (cursor != nullptr) {
      if (const auto position = cursor->Find(ToText(servers[i]))) {
        watch->start = FromSequence{position->sequence, position->journal_id};
        continue;
      }
    }
    if (!command.last) continue;
    Formatter::Events events;
    (*failures)[i] = WithServer(servers[i], nullptr, nullptr, [&](const CommandContext& context) {
      return DaemonLists(context).ReadEvents(list, [&events](EventList* page) {
        for (v1::Event& event : page->events) events.Add()->Swap(&event);
        return true;
      });
    });
    if ((*failures)[i]) {
      watch->start = FromNow{};
      continue;
    }
    listed.push_back(watch);
    newest.push_back(std::move(events));
  }
  if (!command.last) return;
  std::vector<WatchStart> starts = StartsOfLast(newest, list.since, *command.last);
  for (size_t i = 0; i < listed.size(); ++i) listed[i]->start = std::move(starts[i]);
}

ExitCode FollowOne(const FollowCommand& command, const ServerAddress& server, CursorFile* cursor,
                   EventConsumer* consumer, StopSource* stop) {
  std::vector<WatchCommand> watches = {command.watch};
  std::vector<std::optional<Failure>> failures;
  SetStarts(command, {server}, cursor, &watches, &failures);
  if (failures[0]) return Fail(*failures[0]);
  NodeSink sink(consumer, cursor, ToText(server));
  WatchLoop::Environment environment;
  environment.address = server;
  environment.sink = &sink;
  environment.stop = stop;
  environment.note = PrintNote;
  environment.resolve = StoppableResolver(ResolveHost, stop->token());
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  return WatchLoop(std::move(watches[0]), std::move(environment)).Run();
}

ExitCode FollowSeveral(const FollowCommand& command, const std::vector<ServerAddress>& servers,
                       CursorFile* cursor, EventConsumer* consumer, StopSource* stop) {
  std::vector<WatchCommand> watches(servers.size(), command.watch);
  std::vector<std::optional<Failure>> failures;
  SetStarts(command, servers, cursor, &watches, &failures);
  std::vector<WatchedNode> nodes;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (failures[i]) PrintNote(failures[i]->sentence);
    // The merged watch counts; and no node that is down holds up the others.
    watches[i].count.reset();
    watches[i].wait = watches[i].resume;
    nodes.push_back({NodeName(servers[i]), ToText(servers[i]), std::move(watches[i]), servers[i]});
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
  watch.counts_gaps = command.watch.counts_gaps;
  watch.resume = command.watch.resume;
  watch.wait = command.watch.wait;
  const std::optional<WatchPosition> position =
      cursor == nullptr ? std::nullopt : cursor->Find(FleetWatch::CursorKey());
  if (position) {
    watch.start = FromSequence{position->sequence, position->journal_id};
  } else if (command.last) {
    FleetFilter filter = watch.filter;
    if (const auto* from = std::get_if<FromTime>(&watch.start)) filter.since = from->time;
    const FleetLists lists = FleetListsOf(line, PrintNote);
    const auto failure = lists.FindStart(filter, *command.last, &watch.start);
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
